package eventstore

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/internal/backoff"
)

// A tail is the live end of the trail, which all subscriptions of a process share: one reader
// of each stream decodes every message once and puts its records into a ring of the most recent
// chunks. For each chunk the tail wakes the subscriptions that it may have something for, so
// that one that waits for rare events costs little. It lives as long as it has subscriptions.
type tail struct {
	trail   *Trail
	stop    context.CancelFunc
	started chan struct{} // closed when low and high are known, or the tail has ended

	mu            sync.Mutex // of all below, and of a subscription's fields as it says
	subscriptions map[*Subscription]struct{}
	chunks        []*chunk // the ring, oldest first
	first         int      // the number of chunks[0], counted from the tail's beginning
	records       int      // in the ring
	bytes         int      // of the messages that they came in
	low           Cursor   // the ring has everything after low up to high
	high          Cursor
	eventsMoved   chan struct{} // closed when high moves in the events
	err           error         // why the tail ended
}

// A chunk is what of one stream was there to be read at once. It does not change.
type chunk struct {
	entries []*Entry
	bytes   int
	after   Cursor                    // after it, in both streams
	types   typeSet                   // those of the events in it
	orgs    map[domain.OrgID][]*Entry // the entries of each
}

// The bounds of the ring, and how long a chunk may wait for others to come with it, for each
// subscription: a thousand are looked through fifty times a second at most. What is
// decoded takes some three times the bytes of its messages.
const (
	ringRecords   = 16 << 10
	ringBytes     = 8 << 20
	chunkMessages = 40 // a message of uses holds some three hundred
	pauseEach     = 20 * time.Microsecond
	maxChunkPause = 100 * time.Millisecond
)

// join adds s to the tail that is running, or starts one.
func (t *Trail) join(s *Subscription) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.tail == nil || t.tail.ended() {
		ctx, cancel := context.WithCancel(context.Background())
		t.tail = &tail{trail: t, stop: cancel, started: make(chan struct{}), eventsMoved: make(chan struct{}), subscriptions: map[*Subscription]struct{}{}}
		go t.tail.run(ctx)
	}
	s.tail = t.tail
	s.tail.mu.Lock()
	defer s.tail.mu.Unlock()
	s.tail.subscriptions[s] = struct{}{}
}

// leave takes s out, and ends a tail that has no subscription left.
func (t *Trail) leave(s *Subscription) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.tail.mu.Lock()
	defer s.tail.mu.Unlock()
	delete(s.tail.subscriptions, s)
	if len(s.tail.subscriptions) > 0 {
		return
	}
	s.tail.stop()
	if t.tail == s.tail {
		t.tail = nil
	}
}

func (tl *tail) ended() bool {
	tl.mu.Lock()
	defer tl.mu.Unlock()
	return tl.err != nil
}

// run reads both streams from what is their end when it begins.
func (tl *tail) run(ctx context.Context) {
	defer tl.stop()
	if err := tl.start(ctx); err != nil {
		tl.end(err)
		return
	}
	readers, ctx := errgroup.WithContext(ctx)
	for _, s := range Streams {
		q := Query{Stream: s, Reach: domain.All, After: tl.low.At[s], Live: true, Max: chunkMessages}
		readers.Go(func() error {
			return tl.trail.ledger.Read(ctx, q, func(b Batch) error {
				if err := tl.awaitEvents(ctx, b); err != nil {
					return err
				}
				tl.pause(ctx, b, tl.add(s, b))
				return nil
			})
		})
	}
	tl.end(readers.Wait())
}

// decidedCheck is how long uses wait for the event that they were decided after before the ledger
// is asked whether it has such an event: it is milliseconds away, unless the ledger lost its end.
const decidedCheck = 5 * time.Second

// awaitEvents waits until the ring has, or had, the events at which the uses of b were decided:
// two readers of two streams give no order between them.
func (tl *tail) awaitEvents(ctx context.Context, b Batch) error {
	var decided Position
	for i := range b.Records {
		decided = max(decided, b.Records[i].Decided)
	}
	for {
		tl.mu.Lock()
		high, moved := tl.high.At[Events], tl.eventsMoved
		tl.mu.Unlock()
		if decided <= high {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(decidedCheck):
			if tl.trail.ledger.endsBefore(ctx, decided) {
				return nil
			}
		}
	}
}

func (tl *tail) start(ctx context.Context) error {
	defer close(tl.started)
	for _, s := range Streams {
		end, err := tl.trail.ledger.End(ctx, s)
		if err != nil {
			return err
		}
		tl.low.moveTo(s, end)
	}
	tl.high = tl.low
	return nil
}

// end makes it known to every subscription that nothing more comes.
func (tl *tail) end(err error) {
	if err == nil {
		err = context.Canceled
	}
	tl.mu.Lock()
	defer tl.mu.Unlock()
	if tl.err == nil {
		tl.err = err
	}
	for s := range tl.subscriptions {
		s.wake()
	}
}

// pause lets messages gather for the next chunk if none is known to have come yet: the longer, the
// more subscriptions each chunk is looked at for.
func (tl *tail) pause(ctx context.Context, b Batch, subscriptions int) {
	pause := min(time.Duration(subscriptions)*pauseEach, maxChunkPause)
	if b.Pending == 0 && len(b.Messages) < chunkMessages && pause >= time.Millisecond {
		_ = backoff.Sleep(ctx, pause) // the reader ends with ctx
	}
}

// add puts a batch into the ring and wakes the subscriptions that it may have something for.
func (tl *tail) add(s Stream, b Batch) (subscriptions int) {
	c := newChunk(b)
	tl.mu.Lock()
	defer tl.mu.Unlock()
	before := tl.high
	tl.high.moveTo(s, b.Checkpoint.Position)
	if s == Events {
		close(tl.eventsMoved)
		tl.eventsMoved = make(chan struct{})
	}
	c.after = tl.high
	number := tl.first + len(tl.chunks)
	tl.chunks = append(tl.chunks, c)
	tl.records, tl.bytes = tl.records+len(c.entries), tl.bytes+c.bytes
	tl.evict()
	for sub := range tl.subscriptions {
		if sub.mayMatch(c) {
			sub.notify(number, before)
		}
	}
	return len(tl.subscriptions)
}

// evict drops the oldest chunks until the ring is within its bounds, or has one left.
func (tl *tail) evict() {
	for len(tl.chunks) > 1 && (tl.records > tl.trail.ringRecords || tl.bytes > ringBytes) {
		oldest := tl.chunks[0]
		tl.low = oldest.after
		tl.records, tl.bytes = tl.records-len(oldest.entries), tl.bytes-oldest.bytes
		tl.chunks[0] = nil // the array behind the slice must not hold it
		tl.chunks = tl.chunks[1:]
		tl.first++
	}
}

func newChunk(b Batch) *chunk {
	all := make([]Entry, len(b.Records))
	c := &chunk{entries: make([]*Entry, len(b.Records)), bytes: b.Bytes, orgs: map[domain.OrgID][]*Entry{}}
	for i, r := range b.Records {
		all[i].Record = r
		c.entries[i] = &all[i]
		c.types.add(r.Type)
		c.orgs[r.Org] = append(c.orgs[r.Org], c.entries[i])
	}
	return c
}
