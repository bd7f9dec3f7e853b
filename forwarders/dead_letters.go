package forwarders

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/forwarders/transport"
)

// A deadLetter is an event that its receiver rejected for good, as it is kept.
type deadLetter struct {
	position eventstore.Position // among dead letters
	At       time.Time           `json:"at"` // when it was rejected
	Event    string              `json:"event"`
	Type     string              `json:"type"`
	Key      string              `json:"key,omitempty"`
	Org      domain.OrgID        `json:"org_id"`
	Time     time.Time           `json:"time"`
	Sequence string              `json:"sequence"`
	Body     []byte              `json:"body"` // as it was sent
	Status   int                 `json:"status,omitempty"`
	Error    string              `json:"error"`
}

// setAside keeps an event that was rejected for good, before the checkpoint passes it.
func (p *pass) setAside(i *item, f *transport.Failure) error {
	if i.letter != 0 {
		p.counted() // it stays what it is
		return nil
	}
	e := i.event
	data, err := json.Marshal(deadLetter{At: p.engine().now(), Event: e.ID, Type: e.Type, Key: e.Key, Org: e.Org, Time: e.Time, Sequence: e.Sequence, Body: e.Body, Status: f.Status, Error: f.Text})
	if err == nil {
		err = p.engine().Ledger.AddDeadLetter(p.hard, p.sink.Sink, e.ID, data)
	}
	if errors.Is(err, eventstore.ErrDeadLettersFull) {
		return p.giveUp(domain.PausedRejecting, "there are as many dead letters as there may be; the last: "+f.Text)
	}
	if err == nil {
		p.engine().metrics.rejected.WithLabelValues(string(p.sink.Type)).Inc()
		p.counted()
	}
	return err
}

func (p *pass) counted() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.checkpoint.Rejected++
}

// lettersPage is how many dead letters are in memory at once for a replay, beside those of the batches.
const lettersPage = 100

// readDeadLetters is read for a replay of what was set aside.
func (r *reader) readDeadLetters(ctx context.Context) error {
	for after, more := eventstore.Position(0), true; more && ctx.Err() == nil; {
		letters, err := r.pass.engine().deadLetters(ctx, r.pass.sink.Sink, after, lettersPage)
		if err != nil {
			return err
		}
		for _, l := range letters {
			event := transport.Event{ID: l.Event, Key: l.Key, Type: l.Type, Org: l.Org, Time: l.Time, Sequence: l.Sequence, Body: l.Body}
			r.add(ctx, item{written: &written{event: event}, letter: l.position})
			after = l.position
		}
		more = len(letters) == lettersPage
	}
	r.done = true
	r.flushLast(ctx)
	return nil
}

// deadLetters are what the receiver of a sink rejected for good, after a position among them, oldest
// first, at most limit.
func (e *Engine) deadLetters(ctx context.Context, id domain.SinkID, after eventstore.Position, limit int) ([]deadLetter, error) {
	raw, err := e.Ledger.DeadLetters(ctx, id, after, limit)
	if err != nil {
		return nil, err
	}
	all := make([]deadLetter, len(raw))
	for i, m := range raw {
		if err := json.Unmarshal(m.Data, &all[i]); err != nil {
			return nil, fmt.Errorf("read the dead letter %d: %w", m.Position, err)
		}
		all[i].position = m.Position
	}
	return all, nil
}

// SinkDeadLetters are the dead letters of a sink after a position among them, oldest first, at most
// limit.
func (e *Engine) SinkDeadLetters(ctx context.Context, id domain.SinkID, after uint64, limit int) (page []domain.SinkDeadLetter, err error) {
	letters, err := e.deadLetters(ctx, id, eventstore.Position(after), limit)
	if err != nil {
		return nil, err
	}
	for _, l := range letters {
		body := json.RawMessage(l.Body)
		if !json.Valid(body) {
			body, _ = json.Marshal(string(l.Body)) // a string can be written
		}
		page = append(page, domain.SinkDeadLetter{Position: uint64(l.position), At: l.At, Event: l.Event, Type: l.Type, Status: l.Status, Error: l.Error, Body: body})
	}
	return page, nil
}
