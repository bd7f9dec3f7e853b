package forwarders

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/forwarders/format"
	"github.com/keytrail/keytrail/forwarders/transport"
)

// The times of a test: the request that asks for it waits. One that goes to another process has a
// second for the way.
const (
	testTimeout = 8 * time.Second
	askTimeout  = testTimeout + time.Second
)

// A testRequest asks the process that forwards for a test of a sink as it is after an event.
type testRequest struct {
	Sink  domain.SinkID       `json:"sink_id"`
	After eventstore.Position `json:"after"`
}

// TestSink sends an event that is not on the ledger to the receiver of a sink, as that is after the
// event at a position, now and once, and tells what became of it. A paused sink can be tested too.
//
// The process that forwards does it, if there is one: it is its network that must reach the
// receiver, its files that are written, and its back-off that a success ends.
func (e *Engine) TestSink(ctx context.Context, id domain.SinkID, after eventstore.Position) (a domain.SinkAttempt, err error) {
	s, exists, err := e.Catalog.Sink(ctx, id, after)
	if err == nil && !exists {
		err = domain.ErrSinkNotFound
	}
	if err != nil {
		return a, err
	}
	request, err := json.Marshal(testRequest{id, after})
	if err != nil {
		return a, err
	}
	asking, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	answer, err := e.Ledger.AskForwarder(asking, request)
	switch {
	case errors.Is(err, eventstore.ErrNoForwarder):
		return e.testApart(ctx, s), nil
	case err != nil:
		return a, err
	}
	return a, json.Unmarshal(answer, &a)
}

// hearTests tests sinks for all processes, while this one forwards.
func (t *tenure) hearTests() {
	err := t.engine.Ledger.HearForwarder(t.soft, func(request []byte, answer func([]byte)) {
		t.tasks.Go(func() { t.test(request, answer) })
	})
	if t.soft.Err() == nil {
		t.engine.Logger.Warn("tests of sinks are not heard of", "err", err)
	}
}

// test answers a request, unless the sink is not known here in time. A receiver that takes the
// event is back: nothing waits for it any longer.
func (t *tenure) test(request []byte, answer func([]byte)) {
	ctx, cancel := context.WithTimeout(t.soft, testTimeout)
	defer cancel()
	var r testRequest
	if err := json.Unmarshal(request, &r); err != nil {
		return
	}
	s, exists, err := t.engine.Catalog.Sink(ctx, r.Sink, r.After)
	if err != nil || !exists {
		return
	}
	t.mu.Lock()
	of := t.slots[r.Sink]
	t.mu.Unlock()
	a := t.testIn(ctx, of, s)
	if data, err := json.Marshal(a); err == nil {
		answer(data)
	}
	if a.Failed == 0 && of != nil {
		of.wake()
	}
}

// testIn sends over a connection of its own, since that of the passes may be waiting for an answer.
// But a file has one writer: two would rotate it under each other.
func (t *tenure) testIn(ctx context.Context, of *slot, s Sink) domain.SinkAttempt {
	if of != nil && s.Type == domain.SinkFile {
		of.converge(s.Sink, s, true)
		of.mu.Lock()
		defer of.mu.Unlock()
		if r := of.now.receiver; r != nil {
			return t.engine.test(ctx, s, r)
		}
	}
	return t.engine.testApart(ctx, s)
}

// wake begins the passes anew, without their back-off and circuit breaker, if they are failing.
func (s *slot) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.tenure.soft.Err() != nil || !s.now.live.failing() && !s.now.replay.failing() {
		return
	}
	s.restart()
	s.followReplay(s.sink)
}

// testApart tests a sink with a sender of its own.
func (e *Engine) testApart(ctx context.Context, s Sink) domain.SinkAttempt {
	sender := e.senderOf(s)
	defer sender.Close()
	ctx, cancel := context.WithTimeout(ctx, testTimeout)
	defer cancel()
	return e.test(ctx, s, &receiver{sender: sender})
}

func (e *Engine) test(ctx context.Context, s Sink, r *receiver) domain.SinkAttempt {
	a := domain.SinkAttempt{At: e.now(), Events: 1, Failed: 1}
	event, err := e.testEvent(s, a.At)
	if err != nil {
		a.Error = err.Error()
		return a
	}
	a.First = event.ID
	begun := time.Now()
	result := r.send(ctx, []transport.Event{event}, e.Logger)
	a.DurationMS, a.Status, a.Response, a.Failed = time.Since(begun).Milliseconds(), result.Status, result.Response, len(result.Failed)
	if f := result.Failed[0]; f != nil {
		a.Error = f.Text
	}
	return a
}

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
	event := transport.Event{ID: e.Origin() + "-test-" + id.String(), Key: r.Subject, Type: r.Type, Org: r.Org, Time: now, Sequence: "0"}
	write := format.Of(s.Format)
	if write == nil {
		return event, fmt.Errorf("there is no format %q", s.Format)
	}
	event.Body, err = write(event.ID, &r)
	return event, err
}
