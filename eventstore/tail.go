package eventstore

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/internal/backoff"
)

// A feed is what all subscriptions of a process share at the live end of the trail: one reader a
// stream decodes each message once and puts its records into a ring of the most recent
// chunks. For each chunk the feed looks which subscriptions may want something of it and wakes
// those alone, so that one who waits for rare events costs nothing but that look. It lives
// as long as it has subscriptions.
type feed struct {
	trail *Trail
	stop  context.CancelFunc
	begun chan struct{} // closed when low and high are known, or it ends

	mu            sync.Mutex
	subscriptions map[*Subscription]struct{}
	chunks        []*chunk // the ring, oldest first
	first         int      // the number of chunks[0], counted from the feed's beginning
	records       int      // in the ring
	bytes         int      // of the messages that they came in
	low           Cursor   // what lies behind it and at or before high is in the ring
	high          Cursor
	err           error // why the feed ended
}

// A chunk is what was there to be read at once. It does not change.
type chunk struct {
	entries []*Entry
	bytes   int
	after   Cursor // behind it, in both streams
	types   uint64 // a bit for each type of event in it
	orgs    map[domain.OrgID]struct{}
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

// typeBits has a bit for each type of event.
var typeBits = func() map[string]uint64 {
	bits := map[string]uint64{}
	for i, t := range domain.EventTypes {
		bits[t.Name] = 1 << i
	}
	return bits
}()

// join finds the feed that is running, or begins one, and adds s to it.
func (t *Trail) join(s *Subscription) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.live == nil || t.live.ended() {
		ctx, cancel := context.WithCancel(context.Background())
		t.live = &feed{trail: t, stop: cancel, begun: make(chan struct{}), subscriptions: map[*Subscription]struct{}{}}
		go t.live.run(ctx)
	}
	s.feed = t.live
	s.feed.mu.Lock()
	defer s.feed.mu.Unlock()
	s.feed.subscriptions[s] = struct{}{}
}

// leave takes s out, and ends a feed that has no subscription left.
func (t *Trail) leave(s *Subscription) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.feed.mu.Lock()
	defer s.feed.mu.Unlock()
	delete(s.feed.subscriptions, s)
	if len(s.feed.subscriptions) > 0 {
		return
	}
	s.feed.stop()
	if t.live == s.feed {
		t.live = nil
	}
}

func (d *feed) ended() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err != nil
}

// run reads both streams from what is their end when it begins.
func (d *feed) run(ctx context.Context) {
	defer d.stop()
	if err := d.begin(ctx); err != nil {
		d.end(err)
		return
	}
	readers, ctx := errgroup.WithContext(ctx)
	for _, s := range []Stream{Events, Uses} {
		q := Query{Stream: s, Reach: domain.All, After: d.low.At[s], Live: true, Max: chunkMessages}
		readers.Go(func() error {
			return d.trail.ledger.Read(ctx, q, func(b Batch) error { return d.take(ctx, s, b) })
		})
	}
	d.end(readers.Wait())
}

func (d *feed) begin(ctx context.Context) error {
	defer close(d.begun)
	for _, s := range []Stream{Events, Uses} {
		end, err := d.trail.ledger.End(ctx, s)
		if err != nil {
			return err
		}
		d.low.moveTo(s, end)
	}
	d.high = d.low
	return nil
}

// end tells every subscription that nothing more comes.
func (d *feed) end(err error) {
	if err == nil {
		err = context.Canceled
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err == nil {
		d.err = err
	}
	for s := range d.subscriptions {
		s.rouse()
	}
}

// take puts a batch into the ring. Then, if nothing more has come yet, it waits a little, the
// longer the more subscriptions there are to be looked through for each chunk.
func (d *feed) take(ctx context.Context, s Stream, b Batch) error {
	subscriptions := d.add(s, b)
	pause := min(time.Duration(subscriptions)*pauseEach, maxChunkPause)
	if b.Pending > 0 || pause < time.Millisecond {
		return nil
	}
	_ = backoff.Sleep(ctx, pause) // the reader ends with ctx
	return nil
}

func (d *feed) add(s Stream, b Batch) (subscriptions int) {
	c := newChunk(b)
	d.mu.Lock()
	defer d.mu.Unlock()
	before := d.high
	d.high.moveTo(s, b.Checkpoint.Position)
	c.after = d.high
	number := d.first + len(d.chunks)
	d.chunks = append(d.chunks, c)
	d.records, d.bytes = d.records+len(c.entries), d.bytes+c.bytes
	d.evict()
	for sub := range d.subscriptions {
		if sub.mayWant(c) {
			sub.offer(number, before)
		}
	}
	return len(d.subscriptions)
}

// evict lets go of the oldest chunks until the ring is within its bounds, or has one left.
func (d *feed) evict() {
	for len(d.chunks) > 1 && (d.records > d.trail.ringRecords || d.bytes > ringBytes) {
		oldest := d.chunks[0]
		d.low = oldest.after
		d.records, d.bytes = d.records-len(oldest.entries), d.bytes-oldest.bytes
		d.chunks[0] = nil // the array behind the slice must not hold it
		d.chunks = d.chunks[1:]
		d.first++
	}
}

func newChunk(b Batch) *chunk {
	all := make([]Entry, len(b.Records))
	c := &chunk{entries: make([]*Entry, len(b.Records)), bytes: b.Bytes, orgs: map[domain.OrgID]struct{}{}}
	var last domain.OrgID
	for i, r := range b.Records {
		all[i].Record = r
		c.entries[i] = &all[i]
		c.types |= typeBits[r.Type]
		if r.Org != last {
			c.orgs[r.Org] = struct{}{}
			last = r.Org
		}
	}
	return c
}
