package forwarders

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/forwarders/format"
	"github.com/keytrail/keytrail/forwarders/transport"
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
	s, err := e.Ledger.SinkState(ctx, name)
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

// TestSink sends an event that is not on the ledger to the receiver of a sink, as that is after the
// event at a position, now and once, and tells what became of it. A paused sink can be tested too.
func (e *Engine) TestSink(ctx context.Context, id domain.SinkID, after eventstore.Position) (a domain.SinkAttempt, err error) {
	s, exists, err := e.Catalog.Sink(ctx, id, after)
	if err == nil && !exists {
		err = domain.ErrSinkNotFound
	}
	if err != nil {
		return a, err
	}
	a = domain.SinkAttempt{At: e.now(), Events: 1, Failed: 1}
	event, err := e.testEvent(s, a.At)
	if err != nil {
		return a, err
	}
	a.First = event.ID
	sender := e.senderOf(s)
	defer sender.Close()
	ctx, cancel := context.WithTimeout(ctx, testTimeout)
	defer cancel()
	begun := time.Now()
	r := (&receiver{sender: sender}).send(ctx, []transport.Event{event}, e.Logger)
	a.DurationMS, a.Status, a.Response, a.Failed = time.Since(begun).Milliseconds(), r.Status, r.Response, len(r.Failed)
	if f := r.Failed[0]; f != nil {
		a.Error = f.Text
	}
	return a, nil
}

// testTimeout is how long a test may take: the request that asks for it waits.
const testTimeout = 8 * time.Second

// A sinkTest is the event that a test sends. It is never on the ledger.
type sinkTest struct {
	Sink domain.SinkID `json:"sink_id"`
	domain.Header
}

// testEvent is what a test sends, in the sink's format.
func (e *Engine) testEvent(s Sink, now time.Time) (transport.Event, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return transport.Event{}, err
	}
	test := sinkTest{Sink: s.Sink, Header: domain.Header{At: now}}
	r := eventstore.Record{Org: s.Org, Subject: string(s.Sink), ID: id.String(), Stored: now, Time: now, Type: "sink.test", Event: test}
	event := transport.Event{ID: e.Origin + "-test-" + id.String(), Key: r.Subject, Type: r.Type, Org: r.Org, Time: now, Sequence: "0"}
	write := format.Of(s.Format)
	if write == nil {
		return event, fmt.Errorf("there is no format %q", s.Format)
	}
	event.Body, err = write(event.ID, &r)
	return event, err
}
