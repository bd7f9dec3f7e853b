package verify

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/internal/backoff"
)

// A batch is the uses of one message. The recorder's lock guards what is not said otherwise.
type batch struct {
	uses     *eventstore.UseBatch // its writer's alone once it is taken
	taken    bool                 // it is being written
	begun    time.Time            // when its first use came
	earliest time.Time            // deadline of its uses: one that waited for room comes after later ones
	latest   time.Time            // deadline of its uses
	wake     chan struct{}        // closed, and replaced, when its requests are to look again
	done     atomic.Bool          // written or given up
	err      error                // what its requests are told; set before done
}

var useBatches = sync.Pool{New: func() any { return new(eventstore.UseBatch) }}

// lastBatch is the last batch that is not being written; it makes one if there is none. r.mu is
// held.
func (r *recorder) lastBatch(deadline time.Time) *batch {
	if n := len(r.batches); n > 0 && !r.batches[n-1].taken {
		return r.batches[n-1]
	}
	return r.newBatch(deadline)
}

// newBatch begins another batch at the end of the queue. r.mu is held.
func (r *recorder) newBatch(deadline time.Time) *batch {
	b := &batch{uses: useBatches.Get().(*eventstore.UseBatch), begun: deadline.Add(-useTimeout), wake: make(chan struct{})}
	r.batches = append(r.batches, b)
	if len(r.batches) == 1 {
		signal(r.arrived)
	}
	r.scheduleSweep()
	return b
}

// signal makes c readable, if it is not.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run writes the batches, one after the other, until the service ends and there are none.
func (r *recorder) run() {
	defer close(r.stopped)
	var uses int           // in the last message
	var took time.Duration // by its append
	for {
		if r.filling() {
			r.wait(r.commitDelay(uses, took))
		}
		b := r.take()
		if b == nil {
			if !r.awaitBatch() {
				return
			}
			uses = 0
			continue
		}
		uses = b.uses.Len()
		begun := time.Now()
		r.write(b)
		took = time.Since(begun)
		r.finish(b)
	}
}

// awaitBatch waits until there may be a batch, and reports false when the service has ended and
// none can come.
func (r *recorder) awaitBatch() bool {
	select {
	case <-r.arrived:
		return true
	case <-r.stopping:
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.batches) > 0
}

// filling reports whether no batch is full yet.
func (r *recorder) filling() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.batches) < 2
}

// maxCommitDelay is how long relaxed uses collect before they are written: no request waits
// for them, and fewer messages leave more of the machine to verification. It is also, with
// the time of one append, what a crash can lose while the ledger is well.
const maxCommitDelay = 10 * time.Millisecond

// busyBatch is the number of uses from which on a message shows a busy service: so many clients,
// once answered, send their next requests within moments, and these are worth a short wait.
const busyBatch = 16

// commitDelay is how long uses collect after a message of that many uses, whose append took
// so long. Durable ones wait only when busy: a third of an append more makes the messages so
// much larger that all are answered sooner.
func (r *recorder) commitDelay(uses int, took time.Duration) time.Duration {
	switch {
	case r.durability == Relaxed:
		return maxCommitDelay
	case uses >= busyBatch:
		return min(took/3, maxCommitDelay)
	}
	return 0
}

// wait waits for d to pass, or for the end of the service.
func (r *recorder) wait(d time.Duration) {
	if d == 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.stopping:
	}
}

// take gives the oldest batch, to which nothing more is added; nil: there is none.
func (r *recorder) take() *batch {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.batches) == 0 {
		return nil
	}
	r.batches[0].taken = true
	return r.batches[0]
}

// write appends b to the ledger.
func (r *recorder) write(b *batch) {
	r.sizes.Observe(float64(b.uses.Len()))
	var err error
	if r.durability == Durable {
		err = r.writeDurable(b)
	} else {
		err = r.writeRelaxed(b)
	}
	if err != nil {
		b.err = domain.ErrLedgerUnavailable
		r.log.Error("uses not acknowledged by the ledger", "uses", b.uses.Len(), "err", err)
	}
}

// writeDurable tries until the last of its requests is told that it failed. Uses whose
// requests have all been told so before the first try are not written.
func (r *recorder) writeDurable(b *batch) error {
	ctx, cancel := context.WithDeadline(context.Background(), b.latest)
	defer cancel()
	if err := ctx.Err(); err != nil {
		return err
	}
	_, err := r.ledger.AppendUses(ctx, b.uses)
	return err
}

// repeatFor is how long one message is tried: its first try may have been written, and the
// ledger knows a repeated message again for two minutes.
var repeatFor = 90 * time.Second

// repeatPause is the pause between two appends of one message, each of which has tried for
// seconds itself unless it was refused.
var repeatPause = 500 * time.Millisecond

// writeRelaxed tries for longer: its uses were answered.
func (r *recorder) writeRelaxed(b *batch) error {
	ctx, cancel := context.WithTimeout(context.Background(), repeatFor)
	defer cancel()
	for {
		_, err := r.ledger.AppendUses(ctx, b.uses)
		if err == nil {
			return nil
		}
		r.log.Warn("uses wait for the ledger", "uses", b.uses.Len(), "err", err)
		if backoff.Sleep(ctx, repeatPause) != nil {
			r.lost.Add(float64(b.uses.Len()))
			return err
		}
	}
}

// finish takes b, which is the oldest, off the queue, and wakes the requests that wait for it or
// for its room.
func (r *recorder) finish(b *batch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b.done.Store(true)
	close(b.wake)
	r.batches = slices.Delete(r.batches, 0, 1)
	r.uses -= b.uses.Len()
	r.bytes -= b.uses.Size()
	r.wakeForRoom()
	b.uses.Reset()
	useBatches.Put(b.uses)
}
