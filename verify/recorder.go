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

// A UseLog is the ledger as verifications need it. Tests wrap the real one with faults.
type UseLog interface {
	// Suspended is why nothing new is to be recorded, nil if all is well.
	Suspended() error
	// AwaitFresh waits for what was read of it to be no older than a moment, until a deadline.
	AwaitFresh(ctx context.Context, deadline time.Time) error
	// AppendUses writes a batch. Repeated with the same batch, it writes it once.
	AppendUses(context.Context, *eventstore.UseBatch) (eventstore.Position, error)
}

// A recorder appends uses to the ledger with group commit: while a message is being written,
// the uses that arrive, of whatever organizations, collect in a batch, the next message, so
// that many share one fsync. A lone use is written at once.
//
// Requests add their uses to batches here. One goroutine writes them, one after the other
// (queue.go), and one timer wakes requests whose deadline has passed (deadlines.go).
type recorder struct {
	ledger     UseLog
	durability Durability
	maxBytes   int // of waiting uses
	log        *slog.Logger
	sizes      prometheus.Histogram
	lost       prometheus.Counter
	arrived    chan struct{} // readable: there may be a batch
	stopping   chan struct{} // closed when the service ends
	stopped    chan struct{} // closed when nothing more is written

	mu       sync.Mutex
	batches  []*batch      // every one that is not written, oldest first
	uses     int           // in them
	bytes    int           // of them
	room     chan struct{} // closed when there may be room; nil if no request waits for that
	sweeping bool          // the timer of sweep runs
}

// useTimeout is how long after its arrival a verification is answered at the latest: with
// its outcome, or with 503 if its use is not recorded. It is that of the ledger, which is
// longer than the election of a new leader took.
var useTimeout = eventstore.Deadline

// defaultBufferBytes is the memory for uses that wait: 12 seconds of 40,000 verifications a
// second, the time in which a cluster recovers from the loss of any one server.
const defaultBufferBytes = 128 << 20

// maxWait is how old the oldest waiting use may be while relaxed verifications are answered:
// a crash would lose all that wait.
var maxWait = 30 * time.Second

func newRecorder(l UseLog, o Options, lost prometheus.Counter) *recorder {
	r := &recorder{ledger: l, durability: o.Durability, maxBytes: o.BufferBytes, log: o.Logger, lost: lost,
		arrived: make(chan struct{}, 1), stopping: make(chan struct{}), stopped: make(chan struct{}),
		sizes: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "keytrail_use_batch_size", Help: "Uses in one message to the ledger.", Buckets: prometheus.ExponentialBuckets(1, 2, 10)})}
	go r.run()
	return r
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

// A use is what a recorder records: that of a key of org, decided at a position of the events.
type use struct {
	*domain.KeyUsed
	org     domain.OrgID
	decided eventstore.Position
}

// record adds u to a batch, as soon as the memory for waiting uses has room for it. If uses
// are durable it then waits until the ledger has the batch. After deadline the error is
// domain.ErrLedgerUnavailable; the use may then still be written, once.
func (r *recorder) record(ctx context.Context, u use, deadline time.Time) error {
	if err := r.ledger.Suspended(); err != nil {
		return err
	}
	b, wake, err := r.add(u, deadline)
	for b == nil && err == nil {
		if err = await(ctx, wake); err != nil {
			return err
		}
		if err = checkDeadline(deadline); err != nil {
			return err
		}
		b, wake, err = r.add(u, deadline)
	}
	if err != nil || r.durability == Relaxed {
		return err
	}
	return r.awaitWritten(ctx, b, wake, deadline)
}

// recordAll is record for several uses, which go into one message if they fit. If there is no room
// for some they are recorded one by one.
func (r *recorder) recordAll(ctx context.Context, all []use, deadline time.Time) error {
	if len(all) == 0 {
		return nil
	}
	if err := r.ledger.Suspended(); err != nil {
		return err
	}
	batches, added, err := r.addAll(all, deadline)
	for _, u := range all[added:] {
		if err == nil {
			err = r.record(ctx, u, deadline)
		}
	}
	for _, b := range batches {
		if err == nil && r.durability == Durable {
			err = r.awaitWritten(ctx, b, r.wakeOf(b), deadline)
		}
	}
	return err
}

// addAll adds uses while there is room, and gives the batches that have them.
func (r *recorder) addAll(all []use, deadline time.Time) (batches []*batch, added int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, u := range all {
		b, _, err := r.addLocked(u, deadline)
		if b == nil || err != nil {
			return batches, added, err
		}
		if added++; len(batches) == 0 || batches[len(batches)-1] != b {
			batches = append(batches, b)
		}
	}
	return batches, added, nil
}

// awaitWritten returns when b is written or given up, or at deadline.
func (r *recorder) awaitWritten(ctx context.Context, b *batch, wake <-chan struct{}, deadline time.Time) error {
	for {
		if err := await(ctx, wake); err != nil {
			return err
		}
		if b.done.Load() {
			return b.err
		}
		if err := checkDeadline(deadline); err != nil {
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

// add adds u to the last batch, and gives the batch and the channel that is closed when it may
// be written. If there is no room it gives no batch, and a channel that is closed when there
// may be.
func (r *recorder) add(u use, deadline time.Time) (*batch, <-chan struct{}, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.addLocked(u, deadline)
}

// addLocked is add. r.mu is held.
func (r *recorder) addLocked(u use, deadline time.Time) (*batch, <-chan struct{}, error) {
	if r.durability == Relaxed && r.oldest(deadline.Add(-useTimeout)) > maxWait {
		return nil, nil, domain.ErrLedgerUnavailable
	}
	if r.bytes >= r.maxBytes {
		if r.room == nil {
			r.room = make(chan struct{})
		}
		return nil, r.room, nil
	}
	b := r.lastBatch(deadline)
	before := b.uses.Size()
	if !b.uses.Add(u.org, u.KeyUsed, u.decided) {
		b, before = r.newBatch(deadline), 0
		b.uses.Add(u.org, u.KeyUsed, u.decided)
	}
	b.cover(deadline)
	r.uses++
	r.bytes += b.uses.Size() - before
	return b, b.wake, nil
}

// oldest is how long the oldest batch waits.
func (r *recorder) oldest(now time.Time) time.Duration {
	if len(r.batches) == 0 {
		return 0
	}
	return now.Sub(r.batches[0].begun)
}

// drain returns when everything is written, or ctx ends.
func (r *recorder) drain(ctx context.Context) error {
	close(r.stopping)
	select {
	case <-r.stopped:
		return nil
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log.Error("stopped before the ledger took every use", "uses", r.uses)
	return ctx.Err()
}
