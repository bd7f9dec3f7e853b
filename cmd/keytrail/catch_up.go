package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/internal/backoff"
	"github.com/keytrail/keytrail/projections"
)

// catchUp waits until the read model has what was acknowledged before the start: before
// that it would refuse keys that exist, and forget uses that count against rate limits.
func (s *service) catchUp(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	context.AfterFunc(s.background, cancel)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	go s.tellProgress(ctx)
	var err error
	for !s.ledger.CaughtUp() && err == nil {
		select {
		case <-ctx.Done():
			err = ctx.Err()
		case <-tick.C:
			err = s.store.Halted()
		}
	}
	if err == nil {
		err = errors.Join(s.store.WaitFor(ctx, s.ledger.LastEnd(eventstore.Events)), s.store.WaitForUses(ctx, s.ledger.LastEnd(eventstore.Uses)))
	}
	if err != nil {
		return fmt.Errorf("bring the read model up to date: %w", errors.Join(err, context.Cause(s.background)))
	}
	return nil
}

// tellEvery is how often a start that takes long says how far it is.
const tellEvery = 10 * time.Second

// tellProgress logs how far the read model is, until ctx ends.
func (s *service) tellProgress(ctx context.Context) {
	for backoff.Sleep(ctx, tellEvery) == nil {
		for _, stream := range eventstore.Streams {
			if at, end := progressOf(s.store.Status(), stream); at < end {
				s.log.InfoContext(ctx, "the read model is brought up to date", "stream", stream.String(), "position", at, "end", end)
			}
		}
	}
}

// progressOf is how far the last of a stream's projections is, or the table that is filled for it,
// and how far there is to go. When all is read, the rows are still to be written.
func progressOf(all []projections.ProjectionStatus, s eventstore.Stream) (at, end eventstore.Position) {
	for _, p := range all {
		if p.Stream != s.String() {
			continue
		}
		position, last := p.Position, p.Position+eventstore.Position(p.Lag)
		if r := p.Rebuild; r != nil && r.State == projections.RebuildRunning && r.End > 0 {
			position, last = min(r.Position, r.End-1), r.End
		}
		if last-position > end-at {
			at, end = position, last
		}
	}
	return at, end
}
