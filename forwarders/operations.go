package forwarders

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// SinkStatus is how a sink fares, as its checkpoint and the ledger tell it to any process.
func (e *Engine) SinkStatus(ctx context.Context, id domain.SinkID) (st domain.SinkStatus, err error) {
	s, exists, err := e.Catalog.Sink(ctx, id, 0)
	if err == nil && !exists {
		err = domain.ErrSinkNotFound
	}
	if err != nil {
		return st, err
	}
	c := Checkpoint{Cursor: s.Start}
	if err = e.readCheckpoint(ctx, eventstore.CheckpointState(id), &c); err != nil {
		return st, err
	}
	st = domain.SinkStatus{Delivered: c.Delivered, Rejected: c.Rejected, Retries: c.Retries, LastSuccessAt: c.LastSuccess, FailingSince: c.FailingSince,
		LastError: c.LastError, LastErrorAt: c.LastErrorAt, NextAttemptAt: c.NextAttempt}
	page, err := e.Trail.Page(ctx, filterOf(s), c.Cursor, 1)
	if err != nil || len(page.Entries) == 0 && page.AtEnd {
		return st, err // it has all that it is to get
	}
	for _, stream := range eventstore.Streams {
		end, err := e.Ledger.End(ctx, stream)
		if err != nil {
			return st, err
		}
		st.LagEvents += uint64(max(end, c.Cursor.At[stream]) - c.Cursor.At[stream])
	}
	if len(page.Entries) > 0 {
		st.LagSeconds = max(0, float64(time.Since(page.Entries[0].Stored).Milliseconds())/1000)
	}
	return st, nil
}

func (e *Engine) readCheckpoint(ctx context.Context, name string, c *Checkpoint) error {
	s, err := e.Ledger.State(ctx, eventstore.Sinks, name)
	if err != nil || s.Revision == 0 {
		return err
	}
	return json.Unmarshal(s.Data, c)
}

// SinkAttempts are the latest attempts to deliver to a sink, the newest first.
func (e *Engine) SinkAttempts(ctx context.Context, id domain.SinkID) ([]domain.SinkAttempt, error) {
	raw, err := e.Ledger.Attempts(ctx, id)
	if err != nil {
		return nil, err
	}
	all := make([]domain.SinkAttempt, len(raw))
	for i, m := range raw {
		if err := json.Unmarshal(m.Data, &all[len(raw)-1-i]); err != nil {
			return nil, fmt.Errorf("read the attempt %d: %w", m.Position, err)
		}
	}
	return all, nil
}
