package verify

import (
	"container/list"
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/internal/backoff"
)

// A queue is the batches of one organization that no writing has begun of, oldest first. It
// exists while there are any, with one goroutine that writes them.
type queue struct {
	batches []*batch
}

// A batch is the uses of one message. The recorder's lock guards what is not said otherwise.
type batch struct {
	uses     *eventstore.UseBatch // its writer's alone once it is taken off the queue
	begun    time.Time            // when its first use came
	earliest time.Time            // deadline of its uses: one that waited for room comes after later ones
	latest   time.Time            // deadline of its uses
	element  *list.Element        // in the recorder's waiting batches
	wake     chan struct{}        // closed, and replaced, when its requests are to look again
	done     atomic.Bool          // written or given up
	err      error                // what its requests are told; set before done
}

var useBatches = sync.Pool{New: func() any { return new(eventstore.UseBatch) }}

// lastBatch is the last batch of the organization's queue, both of which it makes if there
// is none. r.mu is held.
func (r *recorder) lastBatch(org domain.OrgID, deadline time.Time) *batch {
	q := r.queues[org]
	if q == nil {
		q = &queue{}
		org = domain.OrgID(strings.Clone(string(org))) // it is a part of a credential's row, which the map would keep
		r.queues[org] = q
		r.writers.Add(1)
		go r.run(org, q)
	}
	if n := len(q.batches); n > 0 {
		return q.batches[n-1]
	}
	return r.newBatch(q, deadline)
}

// newBatch begins another batch at the end of q. r.mu is held.
func (r *recorder) newBatch(q *queue, deadline time.Time) *batch {
	b := &batch{uses: useBatches.Get().(*eventstore.UseBatch), begun: deadline.Add(-useTimeout), wake: make(chan struct{})}
	b.element = r.waiting.PushBack(b)
	q.batches = append(q.batches, b)
	r.scheduleSweep()
	return b
}

// run is the goroutine of q: it writes the batches, one after the other, until there are none.
func (r *recorder) run(org domain.OrgID, q *queue) {
	defer r.writers.Done()
	var uses int           // in the last message
	var took time.Duration // by its append
	for {
		if r.filling(q) {
			r.wait(r.commitDelay(uses, took))
		}
		b := r.take(org, q)
		if b == nil {
			return
		}
		uses = b.uses.Len()
		begun := time.Now()
		r.write(org, b)
		took = time.Since(begun)
		r.finish(b)
	}
}

// filling reports whether no batch of q is full yet.
func (r *recorder) filling(q *queue) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(q.batches) < 2
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

// take removes the oldest batch from q; if there is none it removes q and gives nil.
func (r *recorder) take(org domain.OrgID, q *queue) *batch {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(q.batches) == 0 {
		delete(r.queues, org)
		return nil
	}
	b := q.batches[0]
	q.batches = q.batches[1:]
	return b
}

// write appends b to the ledger.
func (r *recorder) write(org domain.OrgID, b *batch) {
	r.sizes.Observe(float64(b.uses.Len()))
	var err error
	if r.durability == Durable {
		err = r.writeDurable(org, b)
	} else {
		err = r.writeRelaxed(org, b)
	}
	if err != nil {
		b.err = domain.ErrLedgerUnavailable
		r.log.Error("uses not acknowledged by the ledger", "org", org, "uses", b.uses.Len(), "err", err)
	}
}

// writeDurable tries until the last of its requests is told that it failed. Uses whose
// requests have all been told so before the first try are not written.
func (r *recorder) writeDurable(org domain.OrgID, b *batch) error {
	ctx, cancel := context.WithDeadline(context.Background(), b.latest)
	defer cancel()
	if err := ctx.Err(); err != nil {
		return err
	}
	_, err := r.ledger.AppendUses(ctx, org, b.uses)
	return err
}

// repeatFor is how long one message is tried: its first try may have been written, and the
// ledger knows a repeated message again for two minutes.
var repeatFor = 90 * time.Second

// repeatPause is the pause between two appends of one message, each of which has tried for
// seconds itself unless it was refused.
var repeatPause = 500 * time.Millisecond

// writeRelaxed tries for longer: its uses were answered.
func (r *recorder) writeRelaxed(org domain.OrgID, b *batch) error {
	ctx, cancel := context.WithTimeout(context.Background(), repeatFor)
	defer cancel()
	for {
		_, err := r.ledger.AppendUses(ctx, org, b.uses)
		if err == nil {
			return nil
		}
		r.log.Warn("uses wait for the ledger", "org", org, "uses", b.uses.Len(), "err", err)
		if backoff.Sleep(ctx, repeatPause) != nil {
			r.lost.Add(float64(b.uses.Len()))
			return err
		}
	}
}

// finish wakes the requests that wait for b or for its room.
func (r *recorder) finish(b *batch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b.done.Store(true)
	close(b.wake)
	r.waiting.Remove(b.element)
	r.uses -= b.uses.Len()
	r.bytes -= b.uses.Size()
	r.wakeForRoom()
	b.uses.Reset()
	useBatches.Put(b.uses)
}
