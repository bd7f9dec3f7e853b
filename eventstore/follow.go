package eventstore

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/internal/backoff"
)

// Follow is the read model's reader of a stream: Read from known on, live, for all
// organizations. There is one for each stream. Whenever it starts or has lost its consumer
// it compares known with the ledger, and ends with ErrLedgerMismatch if they differ; the read
// model must then be built again. Fresh, Health and LastEnd answer from what it hears.
func (l *Ledger) Follow(ctx context.Context, s Stream, known Checkpoint, max int, handle func(Batch) error) error {
	f := &followState{ledger: l, stream: s, known: known, health: &l.health[s]}
	f.health.applied.Store(uint64(known.Position))
	f.health.end.Store(0)
	f.health.halted.Store(false)
	r := reader{ledger: l, query: Query{Stream: s, Reach: domain.All, After: known.Position, Live: true, Max: max}, handle: handle, heartbeats: readModelHeartbeats, follow: f}
	err := r.read(ctx)
	f.health.fresh.Store(nil)
	f.health.halted.Store(ctx.Err() == nil && !errors.Is(err, domain.ErrLedgerMismatch))
	return err
}

// A followState is what a reader has beside when it is the read model's: it compares what was
// read with the ledger, and keeps the stream's health up to date.
type followState struct {
	ledger  *Ledger
	stream  Stream
	health  *streamHealth
	known   Checkpoint // of what was delivered
	pending uint64     // messages that the server has and the reader has not
	heard   time.Time  // when it last heard from the server
	proof   *proof
	proven  bool // the reader has passed the proof's end
}

// A proof is the search for an end of the stream that comes after everything that was
// acknowledged before the search began. end is one more than the position, 0: not found yet.
type proof struct{ end atomic.Uint64 }

// compare asks whether the ledger still has the last message that was read, and when its
// stream was created.
func (f *followState) compare(ctx context.Context) (created time.Time, err error) {
	same, err := f.ledger.Holds(ctx, f.stream, f.known)
	if err != nil {
		return created, &interrupted{err}
	}
	if !same {
		f.health.mismatch.Store(true)
		return created, domain.ErrLedgerMismatch
	}
	info, err := f.ledger.info(ctx, f.stream)
	if err != nil {
		return created, &interrupted{err}
	}
	f.health.advanceEnd(Position(info.State.LastSeq))
	return info.Created, nil
}

// start begins with a new consumer: what it gives is not known to be up to date before it
// has passed a proven end.
func (f *followState) start(ctx context.Context, c *consumer) {
	f.heard, f.pending = c.heard, c.pending
	f.health.suspect.Store(false)
	f.prove(ctx)
}

// prove looks for an end in the background, and wakes the reader when there is one. The
// server is asked for the end after the acknowledgement of an append of ours.
func (f *followState) prove(ctx context.Context) {
	f.health.fresh.Store(nil)
	p := &proof{}
	f.proof, f.proven = p, false
	go func() {
		for {
			err := f.ledger.beat(ctx)
			if err == nil {
				err = f.ledger.askEnd(ctx, f.stream)
			}
			if err == nil {
				p.end.Store(f.health.end.Load() + 1)
				f.health.wakeReader()
				return
			}
			if backoff.Sleep(ctx, backoff.Jitter(restartPause)) != nil {
				return
			}
		}
	}()
}

// noteHeard notes when the server was heard. After too long a silence, which may have been
// this process's own, the next messages may be old ones, and the end must be proven again.
func (f *followState) noteHeard(ctx context.Context, c *consumer, after Position) error {
	if f.health.suspect.Load() {
		return &interrupted{errors.New("the ledger seems to have lost its end")}
	}
	if elapsed(f.heard, c.heard) > maxSilence {
		f.prove(ctx)
	}
	f.heard = c.heard
	f.updateHealth(after)
	return nil
}

// noteApplied notes what was delivered.
func (f *followState) noteApplied(b Batch) {
	f.known, f.pending = b.Checkpoint, b.Pending
	f.health.applied.Store(uint64(b.Checkpoint.Position))
	f.health.advanceEnd(b.Checkpoint.Position + Position(b.Pending))
	f.updateHealth(b.Checkpoint.Position)
}

// updateHealth shows the rest of the program how the reader stands. Uses age out, so that the
// end of their stream may not be there to be passed.
func (f *followState) updateHealth(after Position) {
	heard := f.heard
	f.health.heard.Store(&heard)
	if end := f.proof.end.Load(); !f.proven && end != 0 && (uint64(after)+1 >= end || f.stream == Uses && f.pending == 0) {
		f.proven = true
		f.health.mismatch.Store(false)
	}
	if f.proven {
		f.health.fresh.Store(&heard)
	}
}
