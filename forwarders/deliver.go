package forwarders

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/cenkalti/backoff/v5"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/forwarders/transport"
)

// A receiver is a sink's sender, which all passes of the sink use in turns.
type receiver struct {
	mu     sync.Mutex
	sender transport.Sender
}

// send is the sender's. A panic of it is a failure like another one.
func (r *receiver) send(ctx context.Context, events []transport.Event, log *slog.Logger) (result transport.Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer func() {
		if v := recover(); v != nil {
			log.ErrorContext(ctx, "a sender panicked", "err", v, "stack", string(debug.Stack()))
			result = transport.All(len(events), &transport.Failure{Kind: transport.Again, Text: "the service failed to send; its log says why"})
		}
	}()
	return r.sender.Send(ctx, events)
}

// The bounds of deliveries.
const (
	sendTimeout   = time.Minute        // of an attempt: the longest that a receiver's own protocol asks for is 30 s
	maxRetryAfter = time.Hour          // however long a receiver asks to be left alone
	failsFor      = 5 * 24 * time.Hour // before a sink pauses: over a long weekend
	tellEach      = time.Second        // of attempts that succeed, one is told
)

// errStopped ends a pass that is to make no more attempts.
var errStopped = errors.New("the sink forwards no more")

// An undelivered error is why an attempt is made again.
type undelivered struct {
	failure  *transport.Failure
	after    time.Duration // 0: as the back-off says
	progress bool          // some of the events were accepted
}

func (u *undelivered) Error() string { return u.failure.Text }

// Unwrap makes the back-off wait as long as the receiver asked for, and begin anew.
func (u *undelivered) Unwrap() error {
	if u.after == 0 {
		return nil
	}
	return &backoff.RetryAfterError{Duration: u.after}
}

// unreachable reports whether the receiver could not do anything, as opposed to what it did not
// want of this sink, or did for some of the events.
func (u *undelivered) unreachable() bool {
	return !u.progress && (u.failure.Status == 0 || u.failure.Status >= 500)
}

// item is an entry as the sink's receiver is to get it.
func (p *pass) item(e *eventstore.Entry, after eventstore.Cursor) item {
	origin := p.engine().Origin()
	w := e.Memo(string(p.sink.Format), func(r *eventstore.Record) any { return p.writeDown(origin, r) }).(*written)
	if w.origin != origin { // the logs were renewed since
		w = p.writeDown(origin, &e.Record)
	}
	return item{written: w, after: after}
}

// A written event is one in a format, for all sinks of that format.
type written struct {
	origin string
	event  transport.Event
	stored time.Time
	fault  *transport.Failure // it cannot be written in the format
}

// writeDown writes a record in the sink's format.
func (p *pass) writeDown(origin string, r *eventstore.Record) *written {
	w := &written{origin: origin, event: eventOf(origin, r), stored: r.Stored}
	if p.write == nil {
		w.fault = &transport.Failure{Kind: transport.Rejected, Text: fmt.Sprintf("there is no format %q", p.sink.Format)}
		return w
	}
	var err error
	if w.event.Body, err = p.body(w.event.ID, r); err != nil {
		w.fault = &transport.Failure{Kind: transport.Rejected, Text: "it cannot be written in the sink's format: " + err.Error()}
	}
	return w
}

// body is the record in the sink's format. A panic there is an error of that record alone.
func (p *pass) body(id string, r *eventstore.Record) (body []byte, err error) {
	defer func() {
		if v := recover(); v != nil {
			p.log().Error("a format panicked", "event", id, "err", v, "stack", string(debug.Stack()))
			err = errors.New("the service failed to write it; its log says why")
		}
	}()
	return p.write(id, r)
}

// eventOf is a record without a body. The id by which a receiver drops repeats is
// <origin>-<events|uses>-<position>[-<index>]. Its texts are in memory of their own: those of a record
// of a use hold the whole message that it came in, which a batch may wait with for days.
func eventOf(origin string, r *eventstore.Record) transport.Event {
	var memory [256]byte
	b := append(append(memory[:0], r.Subject...), r.Org...)
	id := len(b)
	b = append(append(append(append(b, origin...), '-'), r.Stream.String()...), '-')
	b = strconv.AppendUint(b, uint64(r.Position), 10)
	if r.Stream == eventstore.Uses {
		b = strconv.AppendInt(append(b, '-'), int64(r.Index), 10)
	}
	sequence := len(b)
	b = append(b, r.Identity()...)
	all := string(b)
	return transport.Event{Key: all[:len(r.Subject)], Org: domain.OrgID(all[len(r.Subject):id]), ID: all[id:sequence], Sequence: all[sequence:], Type: r.Type, Time: r.Time}
}

// began notes that a batch is under way.
func (p *pass) began(b *batch) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var oldest time.Time
	if len(b.items) > 0 {
		oldest = b.items[0].stored
	}
	p.underWay = append(p.underWay, oldest)
}

// deliver makes one attempt to deliver what of a batch is not done. It is the router's handler,
// and the innermost of its chain.
func (p *pass) deliver(m *message.Message) error {
	p.sending.Lock()
	defer p.sending.Unlock()
	b := m.Context().Value(batchKey{}).(*batch)
	if p.stopped || !p.tenure.lease.Held() {
		return backoff.Permanent(errStopped)
	}
	if err := p.attempt(b); err != nil {
		return err
	}
	if b.end {
		if err := p.end(p.hard); err != nil {
			return err
		}
		p.stopped = true
	}
	p.finished(b)
	return nil
}

// attempt sends what is left of b, and settles each event.
func (p *pass) attempt(b *batch) error {
	if err := p.setFaultsAside(b); err != nil {
		return err
	}
	if len(b.items) == 0 {
		return nil
	}
	events := make([]transport.Event, len(b.items))
	for i := range b.items {
		events[i] = b.items[i].event
	}
	ctx, cancel := context.WithTimeout(p.hard, sendTimeout)
	defer cancel()
	begun := time.Now()
	result := p.receiver.send(ctx, events, p.log())
	took := time.Since(begun)
	p.engine().metrics.sent(p.sink.Type, took, len(events)-len(result.Failed))
	if p.hard.Err() != nil && len(result.Failed) > 0 {
		return backoff.Permanent(errStopped) // it was cut off here: no failure of the receiver
	}
	return p.settle(b, result, begun, took)
}

// setFaultsAside makes dead letters of what cannot be written.
func (p *pass) setFaultsAside(b *batch) error {
	if !slices.ContainsFunc(b.items, func(i item) bool { return i.fault != nil }) {
		return nil
	}
	left := b.items[:0:0]
	for _, i := range b.items {
		if i.fault == nil {
			left = append(left, i)
		} else if err := p.setAside(&i, i.fault); err != nil {
			return err
		}
	}
	b.items = left
	return nil
}

// An attempt is what operators are told of an attempt, and what became of its events.
type attempt struct {
	domain.SinkAttempt
	accepted, rejected int
}

// settle is what follows from a result: what was accepted is done, what was rejected is set aside,
// and the rest is left, in its order.
func (p *pass) settle(b *batch, r transport.Result, begun time.Time, took time.Duration) error {
	a := attempt{SinkAttempt: domain.SinkAttempt{At: begun.UTC().Truncate(time.Millisecond), First: b.items[0].event.ID, Events: len(b.items), Failed: len(r.Failed),
		Status: r.Status, Response: r.Response, DurationMS: took.Milliseconds()}}
	var left []item
	var first *transport.Failure // of what is left
	for i := range b.items {
		it := &b.items[i]
		f := r.Failed[i]
		switch {
		case f == nil:
			a.accepted++
			p.accept(it)
		case f.Kind == transport.Rejected:
			a.rejected++
			a.Error = f.Text
			if err := p.setAside(it, f); err != nil {
				b.items = append(left, b.items[i:]...)
				return err
			}
		default:
			left = append(left, *it)
			if first == nil || f.Kind == transport.Gone {
				first = f
			}
		}
	}
	if first != nil {
		a.Error = first.Text
	}
	b.items = left
	p.note(&a, first)
	if first == nil {
		return nil
	}
	return p.follow(first, a.accepted > 0)
}

// accept is what else an accepted event needs.
func (p *pass) accept(i *item) {
	if i.letter == 0 {
		return
	}
	if err := p.engine().Ledger.DeleteDeadLetter(p.hard, i.letter); err != nil {
		p.log().Warn("a dead letter that was delivered is still there", "position", i.letter, "err", err)
	}
}

// note puts an attempt where operators see it, and counts it.
func (p *pass) note(a *attempt, failure *transport.Failure) {
	now := p.engine().now()
	p.mu.Lock()
	c := &p.checkpoint
	c.Delivered += uint64(a.accepted)
	if a.accepted+a.rejected > 0 { // an answer to an event is an answer
		c.Failures, c.FailingSince, c.LastSuccess, c.NextAttempt = 0, time.Time{}, now, time.Time{}
	}
	if failure != nil {
		if c.FailingSince.IsZero() {
			c.FailingSince = now
		}
		c.Failures++
		c.Retries++
		c.NextAttempt = time.Time{}
		if failure.After > 0 {
			c.NextAttempt = now.Add(min(failure.After, maxRetryAfter))
		}
	}
	if a.Error != "" {
		c.LastError, c.LastErrorAt = a.Error, now
	}
	tell := a.Error != "" || time.Since(p.attempted) >= tellEach
	if tell {
		p.attempted = time.Now()
	}
	p.mu.Unlock()
	if failure != nil {
		p.engine().metrics.retries.WithLabelValues(string(p.sink.Type)).Inc()
		p.changed()
	}
	if tell {
		p.tell(a)
	}
}

// follow is what a failure leads to: another attempt, or the end of the sink's forwarding.
func (p *pass) follow(f *transport.Failure, progress bool) error {
	p.mu.Lock()
	since := p.checkpoint.FailingSince
	p.mu.Unlock()
	switch {
	case f.Kind == transport.Gone:
		return p.giveUp(domain.PausedGone, f.Text)
	case p.engine().Now().Sub(since) >= failsFor:
		return p.giveUp(domain.PausedFailing, f.Text)
	}
	u := &undelivered{failure: f, after: min(f.After, maxRetryAfter), progress: progress}
	if progress && u.after == 0 {
		u.after = firstRetry
	}
	return u
}

// giveUp pauses the sink. If that cannot be written down, the next attempt tries again.
func (p *pass) giveUp(reason domain.SinkPauseReason, text string) error {
	p.log().Warn("a sink pauses", "reason", string(reason), "err", text)
	if err := p.engine().Commands.StopSink(p.hard, p.sink.Org, p.sink.Sink, reason, text); err != nil {
		return err
	}
	p.stopped = true
	return backoff.Permanent(errStopped)
}

// finished moves the checkpoint past a batch.
func (p *pass) finished(b *batch) {
	p.mu.Lock()
	p.underWay = p.underWay[1:]
	p.checkpoint.Cursor = b.after
	p.mu.Unlock()
	p.changed()
}

// tell keeps an attempt for operators.
func (p *pass) tell(a *attempt) {
	a.Replay = p.number
	data, err := json.Marshal(a.SinkAttempt)
	if err == nil {
		err = p.engine().Ledger.AddAttempt(p.sink.Sink, data)
	}
	if err != nil {
		p.log().Debug("an attempt is not told", "err", err)
	}
}
