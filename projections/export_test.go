package projections

import (
	"context"
	"testing"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// SetMaxGathered forces a listing to sort in memory, or to walk, until the test ends.
func SetMaxGathered(t *testing.T, n int) {
	before := maxGathered
	t.Cleanup(func() { maxGathered = before })
	maxGathered = n
}

// SetFlushRows makes the transactions of a flush as small as n rows until the test ends.
func SetFlushRows(t *testing.T, n int) {
	before := flushRows
	t.Cleanup(func() { flushRows = before })
	flushRows = n
}

// SetUsageKept lets the counts of hours go sooner until the test ends.
func SetUsageKept(t *testing.T, d time.Duration) {
	before := usageKept
	t.Cleanup(func() { usageKept = before })
	usageKept = d
}

// HourRows is how many rows of hours the usage table has.
func (s *Store) HourRows() (n int, err error) {
	err = s.view(s.usage(), func(r rows) error {
		return r.each([]byte{rowHour}, func(_, _ []byte) error { n++; return nil })
	})
	return n, err
}

// CutOffFlush reads all uses and leaves s as a crash after some transactions of their flush
// would. over: the flush took no more.
func (s *Store) CutOffFlush(ctx context.Context, l *eventstore.Ledger, transactions int) (over bool, err error) {
	g := s.groups[eventstore.Uses]
	if err := g.prepare(ctx, l); err != nil {
		return false, err
	}
	r := g.runners[0]
	err = l.Read(ctx, eventstore.Query{Stream: eventstore.Uses, After: r.mark.Position}, func(b eventstore.Batch) error {
		return r.buffer.add(b.Records, b.Mark)
	})
	r.buffer.close()
	for n := 0; err == nil && !over && n < transactions; n++ {
		_, err = g.flushSome(r, &over)
	}
	return over, err
}

// Cached tells whether d is found without Badger.
func (s *Store) Cached(d domain.Digest) bool {
	_, found := s.groups[eventstore.Events].cache.find(&d)
	return found
}

// Warm fills the cache as the start does.
func (s *Store) Warm(ctx context.Context, l *eventstore.Ledger) { s.warm(ctx, l) }

// Apply applies records as if they had been read, up to mark.
func (s *Store) Apply(records []eventstore.Record, mark eventstore.Mark) error {
	g := s.groups[eventstore.Events]
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.apply(g.runners, records, mark); err != nil {
		return err
	}
	g.publish()
	return nil
}
