package forwarders

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// A Checkpoint is how far a sink, or a replay of it, has come, and how it fares. It is on the
// ledger: a restart and another process go on from it.
type Checkpoint struct {
	Cursor       eventstore.Cursor `json:"cursor"` // all before it was accepted, set aside, or told as a gap
	Delivered    uint64            `json:"delivered"`
	Rejected     uint64            `json:"rejected"`
	Retries      uint64            `json:"retries"`
	Failures     uint64            `json:"failures,omitempty"`     // since the last success
	FailingSince time.Time         `json:"failing_since,omitzero"` // zero: the last attempt succeeded
	LastSuccess  time.Time         `json:"last_success,omitzero"`  //
	LastError    string            `json:"last_error,omitempty"`   // of the last attempt that failed
	LastErrorAt  time.Time         `json:"last_error_at,omitzero"` //
	NextAttempt  time.Time         `json:"next_attempt,omitzero"`  // if the receiver said when
	Node         string            `json:"node"`                   // that put it
	Term         uint64            `json:"term"`                   // of the lease under which it was put
	Origin       string            `json:"origin"`                 // of the ledger that Cursor is of
	Replay       int               `json:"replay,omitempty"`       // the number of the replay that it is of
}

// The pauses between two puts of one checkpoint: a sink that is busy writes once a second, however
// fast it is; one that is up to date and only reads past what it does not want, once an hour, so
// that it has not much to read again and what is pruned behind it is no gap; one that does so
// further back, where it may take long, more often.
const (
	saveEvery       = time.Second
	saveBehindEvery = 10 * time.Second
	saveIdleEvery   = time.Hour
	saveTimeout     = 5 * time.Second
)

// errFenced ends a holder that another one has taken over from.
var errFenced = errors.New("another process forwards")

// load reads the checkpoint of p, or makes the first.
func (p *pass) load(ctx context.Context) error {
	p.tenure.turns <- struct{}{}
	defer func() { <-p.tenure.turns }()
	s, err := p.engine().Ledger.State(ctx, eventstore.Sinks, p.stateName)
	if err != nil {
		return err
	}
	c := Checkpoint{Cursor: p.begin, Replay: p.number}
	if s.Revision > 0 {
		var kept Checkpoint
		if err := json.Unmarshal(s.Data, &kept); err != nil {
			return fmt.Errorf("read the checkpoint of %s: %w", p.stateName, err)
		}
		if kept.Replay == p.number {
			c = kept
		}
	}
	if c.FailingSince.Before(p.sink.Resumed) {
		c.FailingSince, c.Failures = time.Time{}, 0 // a sink that was resumed has its five days again
	}
	if err := p.keepWithin(ctx, &c); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.checkpoint, p.revision, p.saved, p.kept = c, s.Revision, time.Now().Add(-saveEvery), c.Cursor
	return nil
}

// keepWithin moves a checkpoint beyond the end of the ledger, which was restored to an older state
// since, back to that, and tells it.
func (p *pass) keepWithin(ctx context.Context, c *Checkpoint) error {
	for _, s := range eventstore.Streams {
		at := c.Cursor.At[s]
		if at <= p.engine().Ledger.LastEnd(s) {
			continue
		}
		end, err := p.engine().Ledger.End(ctx, s)
		if err != nil {
			return err
		}
		if at <= end {
			continue
		}
		if err := p.noteGap(ctx, s, eventstore.Span{From: end + 1, To: at}, domain.GapRestored); err != nil {
			return err
		}
		c.Cursor.At[s] = end
	}
	return nil
}

// noteGap puts on the trail what the sink does not get.
func (p *pass) noteGap(ctx context.Context, s eventstore.Stream, span eventstore.Span, reason domain.SinkGapReason) error {
	p.log().WarnContext(ctx, "the ledger no longer has what this sink was to get", "stream", s.String(), "from", span.From, "to", span.To, "reason", string(reason))
	return p.engine().Commands.NoteSinkGap(ctx, p.sink.Org, p.sink.Sink, domain.SinkSpan{Stream: s.String(), From: uint64(span.From), To: uint64(span.To), Reason: reason})
}

// changed puts the checkpoint down within a second, or when it is its turn. Deliveries do not wait
// for that.
func (p *pass) changed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dirty = true
	if p.timer == nil {
		p.timer = time.AfterFunc(saveEvery-time.Since(p.saved), p.save)
	}
}

// passed notes that the reader has come to c, if nothing before it is under way. It puts that down
// if the last time is so long ago.
func (p *pass) passed(c eventstore.Cursor, every time.Duration) {
	p.mu.Lock()
	idle := len(p.underWay) == 0
	due := idle && time.Since(p.saved) >= every && p.kept != c
	p.dirty = p.dirty || due
	if idle {
		p.checkpoint.Cursor = c
	}
	p.mu.Unlock()
	if due {
		p.save()
	}
}

// save puts the checkpoint down. If it fails, it is tried again. That another process forwards is
// said once, by the engine.
func (p *pass) save() {
	p.saving.Lock()
	defer p.saving.Unlock()
	p.tenure.turns <- struct{}{}
	defer func() { <-p.tenure.turns }()
	p.mu.Lock()
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
	if !p.dirty || p.ended {
		p.mu.Unlock()
		return
	}
	p.dirty, p.saved, p.kept = false, time.Now(), p.checkpoint.Cursor
	c := p.checkpoint
	p.mu.Unlock()
	err := p.put(c)
	if err != nil {
		p.changed()
	}
	if err != nil && !errors.Is(err, errFenced) {
		p.log().Warn("the checkpoint of a sink was not put down; will try again", "err", err)
	}
}

// put compares and sets. What an earlier holder put is overwritten: it may have been frozen in the
// middle of it. What a later one put ends this holder.
func (p *pass) put(c Checkpoint) error {
	ctx, cancel := context.WithTimeout(context.Background(), saveTimeout)
	defer cancel()
	c.Node, c.Term, c.Origin = p.engine().Node, p.tenure.lease.Term, p.engine().Origin()
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	for {
		if !p.tenure.lease.Held() {
			return errFenced
		}
		revision, err := p.engine().Ledger.PutState(ctx, eventstore.Sinks, p.stateName, p.revision, data)
		if err == nil {
			p.revision = revision
		}
		if !errors.Is(err, eventstore.ErrConflict) {
			return err
		}
		s, err := p.engine().Ledger.State(ctx, eventstore.Sinks, p.stateName)
		if err != nil {
			return err
		}
		var theirs Checkpoint
		if s.Revision > 0 && json.Unmarshal(s.Data, &theirs) == nil && theirs.Term > c.Term {
			p.tenure.fence()
			return errFenced
		}
		p.revision = s.Revision
	}
}
