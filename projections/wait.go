package projections

import (
	"context"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/internal/tracing"
)

// Position is how far the ledger's events are applied.
func (s *Store) Position() eventstore.Position {
	return s.engines[eventstore.Events].published.Load().position
}

// Version counts what was published of the events: while it stays, all rows that follow from
// them do. It never goes back, as Position does when the ledger turns out to be another one.
func (s *Store) Version() uint64 { return s.engines[eventstore.Events].published.Load().number }

// WaitFor returns when the events up to p are applied, or with domain.ErrReadModelBehind when ctx ends.
func (s *Store) WaitFor(ctx context.Context, p eventstore.Position) (err error) {
	ctx, finish := tracing.Start(ctx, "wait for the read model")
	defer func() { finish(err) }()
	return s.engines[eventstore.Events].waitFor(ctx, p)
}

// WaitForUses returns when the uses up to p are applied, or with domain.ErrReadModelBehind when ctx ends.
func (s *Store) WaitForUses(ctx context.Context, p eventstore.Position) error {
	return s.engines[eventstore.Uses].waitFor(ctx, p)
}

func (e *engine) waitFor(ctx context.Context, p eventstore.Position) error {
	now := e.published.Load()
	if now.position >= p {
		return nil
	}
	e.waiting.Add(1)
	defer e.waiting.Add(-1)
	signal(e.flushAsked)
	for ; now.position < p; now = e.published.Load() {
		if now.halted {
			return domain.ErrReadModelBehind
		}
		select {
		case <-ctx.Done():
			return domain.ErrReadModelBehind
		case <-now.superseded:
		}
	}
	return nil
}

// Halted is domain.ErrReadModelBehind if a projection has stopped, so that waiting is of no use.
func (s *Store) Halted() error {
	for _, e := range s.engines {
		if e.published.Load().halted {
			return domain.ErrReadModelBehind
		}
	}
	return nil
}
