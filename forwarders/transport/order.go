package transport

// behindFailed adds to the failed events those behind one of the same key: sent again, they come
// after it. What a receiver had taken of them it has twice, and in order.
func behindFailed(events []Event, failed map[int]*Failure) map[int]*Failure {
	if len(failed) == 0 {
		return nil
	}
	waiting := map[string]*Failure{} // by key
	for i := range events {
		switch f := failed[i]; {
		case f != nil && f.Kind != Rejected:
			if waiting[events[i].Key] == nil {
				waiting[events[i].Key] = f
			}
		case f == nil && waiting[events[i].Key] != nil:
			failed[i] = waiting[events[i].Key]
		}
	}
	return failed
}
