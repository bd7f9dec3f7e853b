package transport

import "testing"

// TestWhatIsBehindAFailedEvent: it waits if it is of the same key, and the failed one comes again.
func TestWhatIsBehindAFailedEvent(t *testing.T) {
	again, rejected := &Failure{}, &Failure{Kind: Rejected}
	events := someEvents(8, "a", "b") // a at 0, 2, 4, 6
	failed := behindFailed(events, map[int]*Failure{1: rejected, 2: again, 6: rejected})
	want := map[int]*Failure{1: rejected, 2: again, 4: again, 6: rejected}
	if len(failed) != len(want) {
		t.Errorf("%v", failed)
	}
	for i, f := range want {
		if failed[i] != f {
			t.Errorf("event %d: %+v", i, failed[i])
		}
	}
	if behindFailed(events, map[int]*Failure{}) != nil {
		t.Error("none failed")
	}
}
