package projections

import (
	"context"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/internal/tracing"
)

// Position is how far the ledger's events are applied.
func (s *Store) Position() eventstore.Position {
	return eventstore.Position(s.groups[eventstore.Events].position.Load())
}

// WaitFor returns when the events up to p are applied, or with domain.ErrReadModelBehind when ctx ends.
func (s *Store) WaitFor(ctx context.Context, p eventstore.Position) (err error) {
	ctx, finish := tracing.Start(ctx, "wait for the read model")
	defer func() { finish(err) }()
	return s.groups[eventstore.Events].waitFor(ctx, p)
}

// WaitForUses returns when the uses up to p are applied, or with domain.ErrReadModelBehind when ctx ends.
func (s *Store) WaitForUses(ctx context.Context, p eventstore.Position) error {
	return s.groups[eventstore.Uses].waitFor(ctx, p)
}

func (g *group) waitFor(ctx context.Context, p eventstore.Position) error {
	if eventstore.Position(g.position.Load()) >= p {
		return nil
	}
	g.awaited.Add(1)
	defer g.awaited.Add(-1)
	signal(g.hurry)
	for {
		if eventstore.Position(g.position.Load()) >= p {
			return nil
		}
		g.mu.Lock()
		moved, halted := g.moved, g.halted
		g.mu.Unlock()
		if eventstore.Position(g.position.Load()) >= p {
			return nil
		}
		if halted != nil {
			return domain.ErrReadModelBehind
		}
		select {
		case <-ctx.Done():
			return domain.ErrReadModelBehind
		case <-moved:
		}
	}
}

// Halted is domain.ErrReadModelBehind if a projection has stopped, so that waiting is of no use.
func (s *Store) Halted() error {
	for _, g := range s.groups {
		g.mu.Lock()
		halted := g.halted
		g.mu.Unlock()
		if halted != nil {
			return domain.ErrReadModelBehind
		}
	}
	return nil
}
