package verify

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// A recorder brings uses to the ledger. A lone use goes out at once; while a message is on
// its way, the uses of the same organization that come meanwhile collect for the next one,
// so that many share one fsync.
type recorder struct {
	ledger     *eventstore.Ledger
	durability Durability
	log        *slog.Logger
	sizes      prometheus.Histogram

	mu    sync.Mutex
	orgs  map[domain.OrgID]*lane
	lanes sync.WaitGroup

	draining chan struct{} // closed when the service ends
}

// A lane is the uses of one organization that wait, oldest batch first. It exists while
// there are any, with one goroutine that writes them.
type lane struct {
	waiting []*batch
}

// A batch is one message to be. done is closed when err is known.
type batch struct {
	uses *eventstore.UseBatch // while it waits and is written
	done chan struct{}
	err  error
}

var useBatches = sync.Pool{New: func() any { return new(eventstore.UseBatch) }}

// maxWaiting bounds the batches of one organization that wait for a ledger that does not
// take them: some 10,000 uses.
const maxWaiting = 32

func newRecorder(l *eventstore.Ledger, d Durability, log *slog.Logger) *recorder {
	return &recorder{ledger: l, durability: d, log: log, orgs: map[domain.OrgID]*lane{}, draining: make(chan struct{}), sizes: prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "keytrail_use_batch_size", Help: "Uses in one message to the ledger.", Buckets: prometheus.ExponentialBuckets(1, 2, 10)})}
}

// record puts u on its way. Durable waits until the ledger has it, but not longer than the
// ledger's own deadline for an append, after which the error is ErrUnavailable. Where the
// ledger takes less than comes, both wait for room.
func (r *recorder) record(ctx context.Context, org domain.OrgID, u *domain.KeyUsed) error {
	if err := r.ledger.Held(); err != nil {
		return err
	}
	for {
		b, oldest := r.enqueue(org, u)
		if b == nil {
			if err := oldest.wait(ctx); err != nil {
				return err
			}
			continue
		}
		if r.durability == Relaxed {
			return nil
		}
		return b.wait(ctx)
	}
}

func (b *batch) wait(ctx context.Context) error {
	select {
	case <-b.done:
		return b.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// enqueue gives the batch that u is in; or, if there is no room, none and the batch that
// is next to be written.
func (r *recorder) enqueue(org domain.OrgID, u *domain.KeyUsed) (b, oldest *batch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.orgs[org]
	if l == nil {
		l = &lane{}
		org = domain.OrgID(string([]byte(org)))
		r.orgs[org] = l
		r.lanes.Add(1)
		go r.run(org, l)
	}
	if n := len(l.waiting); n > 0 && l.waiting[n-1].uses.Add(u) {
		return l.waiting[n-1], nil
	}
	if len(l.waiting) == maxWaiting {
		return nil, l.waiting[0]
	}
	b = &batch{uses: useBatches.Get().(*eventstore.UseBatch), done: make(chan struct{})}
	b.uses.Add(u)
	l.waiting = append(l.waiting, b)
	return b, nil
}

// run writes the lane's batches, one after the other, until there are none.
func (r *recorder) run(org domain.OrgID, l *lane) {
	defer r.lanes.Done()
	var uses int           // in the last message
	var took time.Duration // by the last append
	for {
		if r.few(l) {
			r.gather(r.patience(uses, took))
		}
		b := r.take(org, l)
		if b == nil {
			return
		}
		uses = b.uses.Len()
		r.sizes.Observe(float64(uses))
		begun := time.Now()
		// Not the request's context: the batch belongs to many, and AppendUses has a deadline.
		if _, b.err = r.ledger.AppendUses(context.Background(), org, b.uses); b.err != nil {
			r.log.Error("uses not recorded", "org", org, "uses", uses, "err", b.err)
		}
		took = time.Since(begun)
		close(b.done)
		b.uses.Reset()
		useBatches.Put(b.uses)
	}
}

// window is how long relaxed uses collect before they go out: nobody waits for them, and
// fewer messages leave more of the machine to those who verify. It is also, with the time
// of one append, what a crash can lose.
const window = 10 * time.Millisecond

// many uses in a message show that so many ask at once that those who were just answered
// are about to ask again.
const many = 16

// patience is how long uses collect after a message of that many uses, which took so long.
// Durable ones wait only among many: a third of an append more makes the messages so much
// larger that all are answered sooner.
func (r *recorder) patience(uses int, took time.Duration) time.Duration {
	switch {
	case r.durability == Relaxed:
		return window
	case uses >= many:
		return min(took/3, window)
	}
	return 0
}

// few tells whether less than a whole message waits.
func (r *recorder) few(l *lane) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(l.waiting) < 2
}

// gather waits for d to pass, or for the end of the service.
func (r *recorder) gather(d time.Duration) {
	if d == 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.draining:
	}
}

func (r *recorder) take(org domain.OrgID, l *lane) *batch {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(l.waiting) == 0 {
		delete(r.orgs, org)
		return nil
	}
	b := l.waiting[0]
	l.waiting = l.waiting[1:]
	return b
}

// drain returns when everything is written, or ctx ends.
func (r *recorder) drain(ctx context.Context) error {
	close(r.draining)
	done := make(chan struct{})
	go func() { r.lanes.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
