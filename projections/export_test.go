package projections

import (
	"bytes"
	"context"
	"slices"
	"testing"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// SetMaxGathered forces a listing to sort in memory, or to walk, until the test ends.
func SetMaxGathered(t *testing.T, n int) {
	before := maxGathered
	t.Cleanup(func() { maxGathered = before })
	maxGathered = n
}

// CutOffFiling reads all uses and leaves s as a crash in the middle of filing them would.
func (s *Store) CutOffFiling(ctx context.Context, l *eventstore.Ledger) error {
	g := s.groups[eventstore.Uses]
	if err := g.prepare(ctx, l); err != nil {
		return err
	}
	r := g.runners[0]
	err := l.Read(ctx, eventstore.Query{Stream: eventstore.Uses, After: r.mark.Position}, func(b eventstore.Batch) error {
		return r.tallies.add(b.Records, b.Mark)
	})
	if err != nil {
		return err
	}
	all := r.tallies.all
	slices.SortFunc(all, func(a, b tally) int { return bytes.Compare(a.key[:], b.key[:]) })
	half := all[:len(all)/2]
	return g.fileSome(r, half, r.mark, &filing{Mark: r.tallies.mark, Key: half[len(half)-1].key})
}

// Cached tells whether d is found without Badger.
func (s *Store) Cached(d domain.Digest) bool {
	_, found := s.groups[eventstore.Events].cache.find(&d)
	return found
}

// Warm fills the cache as the start does.
func (s *Store) Warm(ctx context.Context, l *eventstore.Ledger) { s.warm(ctx, l) }
