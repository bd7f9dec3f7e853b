package eventstore

// Suspend makes Append refuse with reason, until it is called with nil: before the disk is
// full, while the ledger can still stop in good order. Uses that were accepted before are
// still written.
func (l *Ledger) Suspend(reason error) {
	if reason == nil {
		l.suspended.Store(nil)
		return
	}
	l.suspended.Store(&reason)
}

// Suspended is why nothing new is to be recorded; nil if all is well. The verifier asks it
// before it records a use.
func (l *Ledger) Suspended() error {
	if reason := l.suspended.Load(); reason != nil {
		return *reason
	}
	return nil
}
