package eventstore

import (
	"context"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

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

// AroundSingles makes f stand around each first try to append an event by itself.
func (l *Ledger) AroundSingles(f func(do func() error) error) {
	inner := l.commits.single
	l.commits.single = func(ctx context.Context, m *nats.Msg) (ack *jetstream.PubAck, err error) {
		err = f(func() error { ack, err = inner(ctx, m); return err })
		return ack, err
	}
}

// AroundBatches makes f stand around each append of an atomic batch of n events.
func (l *Ledger) AroundBatches(f func(n int, do func() error) error) {
	inner := l.commits.batch
	l.commits.batch = func(ctx context.Context, messages []*nats.Msg) (last Position, err error) {
		err = f(len(messages), func() error { last, err = inner(ctx, messages); return err })
		return last, err
	}
}

// Waiting is how many events wait for a batch.
func (l *Ledger) Waiting() int {
	l.commits.mu.Lock()
	defer l.commits.mu.Unlock()
	return len(l.commits.waiting)
}

// SetReplayRecords makes replays want n records at once.
func SetReplayRecords(t *testing.T, n int) {
	before := replayRecords
	replayRecords = n
	t.Cleanup(func() { replayRecords = before })
}

// Received is how many messages the server has sent.
func (l *Ledger) Received() uint64 { return l.nc.Stats().InMsgs }

// SetDataKeysPage makes the names of data keys come in smaller pages until the test ends.
func SetDataKeysPage(t *testing.T, n int) {
	before := dataKeysPage
	t.Cleanup(func() { dataKeysPage = before })
	dataKeysPage = n
}
