package eventstore

// Hold refuses to append events with reason, and whoever is about to use a key is told so
// by Held, until Hold is called with nil: whoever watches over the disk stops the ledger
// while it can still stop in good order. Uses that were accepted before are still written.
func (l *Ledger) Hold(reason error) {
	if reason == nil {
		l.held.Store(nil)
		return
	}
	l.held.Store(&reason)
}

// Held is why nothing new is to be recorded, nil if all is well.
func (l *Ledger) Held() error {
	if reason := l.held.Load(); reason != nil {
		return *reason
	}
	return nil
}
