package verify

import (
	"container/list"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// A UseLog is the ledger as verifications need it. Tests wrap the real one with faults.
type UseLog interface {
	// Suspended is why nothing new is to be recorded, nil if all is well.
	Suspended() error
	// AwaitFresh waits for what was read of it to be no older than a moment, until a deadline.
	AwaitFresh(ctx context.Context, deadline time.Time) error
	// AppendUses writes a batch. Repeated with the same batch, it writes it once.
	AppendUses(context.Context, domain.OrgID, *eventstore.UseBatch) (eventstore.Position, error)
	// AppendSummary writes a summary. Repeated with the same one, it writes it once.
	AppendSummary(context.Context, *eventstore.Summary) (eventstore.Position, error)
}

// A recorder appends uses to the ledger. A lone use goes out at once; while a message is on
// its way, the uses of the same organization that come meanwhile collect for the next one,
// so that many share one fsync.
type recorder struct {
	ledger     UseLog
	durability Durability
	maxBytes   int // of waiting uses
	log        *slog.Logger
	sizes      prometheus.Histogram
	lost       prometheus.Counter

	mu       sync.Mutex
	queues   map[domain.OrgID]*queue
	waiting  list.List     // every *batch that is not written, oldest first
	uses     int           // in them
	bytes    int           // of them
	room     chan struct{} // closed when there may be room; nil if no request waits for that
	sweeping bool
	writers  sync.WaitGroup

	stopping chan struct{} // closed when the service ends
}

// A queue is the batches of one organization, oldest first. It exists while there are any,
// with one goroutine that writes them.
type queue struct {
	batches []*batch
}

// A batch is the uses of one message.
type batch struct {
	uses     *eventstore.UseBatch
	begun    time.Time // when its first use came
	earliest time.Time // deadline of its uses: one that waited for room comes after later ones
	latest   time.Time
	place    *list.Element
	wake     chan struct{} // closed, and replaced, when its requests are to look again
	written  atomic.Bool   // or given up: err is known
	err      error
}

var useBatches = sync.Pool{New: func() any { return new(eventstore.UseBatch) }}

// useTimeout is how long after its arrival a verification is answered at the latest: with
// its outcome, or with 503 if its use is not recorded. It is that of the ledger, which is
// longer than the election of a new leader took.
var useTimeout = eventstore.Deadline

// sweeps is how often in that time it is looked whose deadline has passed.
const sweeps = 50

// defaultBufferBytes is the memory for uses that wait: 12 seconds of 40,000 verifications a
// second, the time in which a cluster recovers from the loss of any one server.
const defaultBufferBytes = 128 << 20

// maxWait is how old the oldest waiting use may be while relaxed verifications are answered:
// a crash would lose all that wait.
var maxWait = 30 * time.Second

// repeatFor is how long one message is tried: its first try may have been written, and the
// ledger knows a repeated message again for two minutes.
var repeatFor = 90 * time.Second

// repeatPause is the pause between two appends of one message, each of which has tried for
// seconds itself unless it was refused.
var repeatPause = 500 * time.Millisecond

func newRecorder(l UseLog, o Options, lost prometheus.Counter) *recorder {
	return &recorder{ledger: l, durability: o.Durability, maxBytes: o.BufferBytes, log: o.Logger, lost: lost, queues: map[domain.OrgID]*queue{}, stopping: make(chan struct{}),
		sizes: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "keytrail_use_batch_size", Help: "Uses in one message to the ledger.", Buckets: prometheus.ExponentialBuckets(1, 2, 10)})}
}

func (r *recorder) metrics() []prometheus.Collector {
	return []prometheus.Collector{r.sizes,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "keytrail_uses_waiting", Help: "Uses that are not on the ledger yet."}, func() float64 {
			r.mu.Lock()
			defer r.mu.Unlock()
			return float64(r.uses)
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "keytrail_uses_oldest_waiting_seconds", Help: "Age of the oldest use that is not on the ledger yet."}, func() float64 {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.oldest(time.Now()).Seconds()
		})}
}

// record puts u into a batch. Durable waits until the ledger has it; where the ledger takes
// less than comes, both wait for room. After deadline the error is ErrUnavailable; the use
// may then still be written, once.
func (r *recorder) record(ctx context.Context, org domain.OrgID, u *domain.KeyUsed, deadline time.Time) error {
	if err := r.ledger.Suspended(); err != nil {
		return err
	}
	b, wake, err := r.enqueue(org, u, deadline)
	for b == nil && err == nil {
		if err = await(ctx, wake); err == nil {
			err = late(deadline)
		}
		if err == nil {
			b, wake, err = r.enqueue(org, u, deadline)
		}
	}
	if err != nil || r.durability == Relaxed {
		return err
	}
	for {
		if err := await(ctx, wake); err != nil {
			return err
		}
		if b.written.Load() {
			return b.err
		}
		if err := late(deadline); err != nil {
			return err
		}
		wake = r.wakeOf(b)
	}
}

func await(ctx context.Context, wake <-chan struct{}) error {
	select {
	case <-wake:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func late(deadline time.Time) error {
	if time.Now().After(deadline) {
		return eventstore.ErrUnavailable
	}
	return nil
}

func (r *recorder) wakeOf(b *batch) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return b.wake
}

// sweep wakes the requests of batches in which a deadline may have passed, and those that
// wait for room, and does so again as long as anything waits. One timer for all is cheaper
// than one for each request.
func (r *recorder) sweep() {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	for e := r.waiting.Front(); e != nil && r.durability == Durable; e = e.Next() {
		if b := e.Value.(*batch); now.After(b.earliest) {
			close(b.wake)
			b.wake = make(chan struct{})
		}
	}
	r.wakeForRoom()
	if r.sweeping = r.waiting.Len() > 0; r.sweeping {
		time.AfterFunc(useTimeout/sweeps, r.sweep)
	}
}

func (r *recorder) wakeForRoom() {
	if r.room != nil {
		close(r.room)
		r.room = nil
	}
}

// enqueue gives the batch that u is in and what wakes its requests; or, if there is no room
// for it, none and what is closed when there may be.
func (r *recorder) enqueue(org domain.OrgID, u *domain.KeyUsed, deadline time.Time) (*batch, <-chan struct{}, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.durability == Relaxed && r.oldest(deadline.Add(-useTimeout)) > maxWait {
		return nil, nil, eventstore.ErrUnavailable
	}
	if r.bytes >= r.maxBytes {
		if r.room == nil {
			r.room = make(chan struct{})
		}
		return nil, r.room, nil
	}
	b := r.batchFor(org, deadline)
	before := b.uses.Size()
	if !b.uses.Add(u) {
		b = r.newBatch(r.queues[org], deadline)
		before = 0
		b.uses.Add(u)
	}
	b.cover(deadline)
	r.uses++
	r.bytes += b.uses.Size() - before
	return b, b.wake, nil
}

// cover makes b's requests look again at deadline, and its writing go on until then.
func (b *batch) cover(deadline time.Time) {
	if b.earliest.IsZero() || deadline.Before(b.earliest) {
		b.earliest = deadline
	}
	if deadline.After(b.latest) {
		b.latest = deadline
	}
}

// batchFor is the last batch of the organization's queue, both of which it makes if there
// is none.
func (r *recorder) batchFor(org domain.OrgID, deadline time.Time) *batch {
	q := r.queues[org]
	if q == nil {
		q = &queue{}
		org = domain.OrgID(string([]byte(org)))
		r.queues[org] = q
		r.writers.Add(1)
		go r.run(org, q)
	}
	if n := len(q.batches); n > 0 {
		return q.batches[n-1]
	}
	return r.newBatch(q, deadline)
}

func (r *recorder) newBatch(q *queue, deadline time.Time) *batch {
	b := &batch{uses: useBatches.Get().(*eventstore.UseBatch), begun: deadline.Add(-useTimeout), wake: make(chan struct{})}
	b.place = r.waiting.PushBack(b)
	if !r.sweeping {
		r.sweeping = true
		time.AfterFunc(useTimeout/sweeps, r.sweep)
	}
	q.batches = append(q.batches, b)
	return b
}

// oldest is how long the oldest batch waits.
func (r *recorder) oldest(now time.Time) time.Duration {
	if first := r.waiting.Front(); first != nil {
		return now.Sub(first.Value.(*batch).begun)
	}
	return 0
}

// run writes the queue's batches, one after the other, until there are none.
func (r *recorder) run(org domain.OrgID, q *queue) {
	defer r.writers.Done()
	var uses int           // in the last message
	var took time.Duration // by its append
	for {
		if r.underOneMessage(q) {
			r.collect(r.batchWindow(uses, took))
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

// write appends b, and says in b.err what its requests are told.
func (r *recorder) write(org domain.OrgID, b *batch) {
	r.sizes.Observe(float64(b.uses.Len()))
	var err error
	if r.durability == Durable {
		err = r.writeDurable(org, b)
	} else {
		err = r.writeRelaxed(org, b)
	}
	if err != nil {
		b.err = eventstore.ErrUnavailable
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

// writeRelaxed tries longer: its uses were answered.
func (r *recorder) writeRelaxed(org domain.OrgID, b *batch) error {
	ctx, cancel := context.WithTimeout(context.Background(), repeatFor)
	defer cancel()
	for {
		_, err := r.ledger.AppendUses(ctx, org, b.uses)
		if err == nil {
			return nil
		}
		r.log.Warn("uses wait for the ledger", "org", org, "uses", b.uses.Len(), "err", err)
		select {
		case <-ctx.Done():
			r.lost.Add(float64(b.uses.Len()))
			return err
		case <-time.After(repeatPause):
		}
	}
}

// finish lets go of a batch and of what waits for it or its room.
func (r *recorder) finish(b *batch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b.written.Store(true)
	close(b.wake)
	r.waiting.Remove(b.place)
	r.uses -= b.uses.Len()
	r.bytes -= b.uses.Size()
	r.wakeForRoom()
	b.uses.Reset()
	useBatches.Put(b.uses)
}

// maxBatchWindow is how long relaxed uses collect before they go out: no request waits for
// them, and fewer messages leave more of the machine to verification. It is also, with the
// time of one append, what a crash can lose while the ledger is well.
const maxBatchWindow = 10 * time.Millisecond

// busyBatch is a size of a message that shows so many concurrent requests that those which
// were just answered are about to be followed by as many.
const busyBatch = 16

// batchWindow is how long uses collect after a message of that many uses, which took so
// long. Durable ones wait only when busy: a third of an append more makes the messages so
// much larger that all are answered sooner.
func (r *recorder) batchWindow(uses int, took time.Duration) time.Duration {
	switch {
	case r.durability == Relaxed:
		return maxBatchWindow
	case uses >= busyBatch:
		return min(took/3, maxBatchWindow)
	}
	return 0
}

// underOneMessage tells whether less than a whole message waits.
func (r *recorder) underOneMessage(q *queue) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(q.batches) < 2
}

// collect waits for d to pass, or for the end of the service.
func (r *recorder) collect(d time.Duration) {
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

// take removes the oldest batch from the queue, or the queue if it has none.
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

// drain returns when everything is written, or ctx ends.
func (r *recorder) drain(ctx context.Context) error {
	close(r.stopping)
	done := make(chan struct{})
	go func() { r.writers.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log.Error("stopped before the ledger took every use", "uses", r.uses)
	return ctx.Err()
}
