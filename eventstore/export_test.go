package eventstore

import "context"

// Consumers is how many the server has for a stream.
func (l *Ledger) Consumers(ctx context.Context, s Stream) (int, error) {
	info, err := l.info(ctx, s)
	if err != nil {
		return 0, err
	}
	return info.State.Consumers, nil
}

// SetRing makes the ring of a tail that is not yet running hold n records.
func (t *Trail) SetRing(n int) { t.ringRecords = n }
