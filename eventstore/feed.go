package eventstore

import (
	"context"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/keytrail/keytrail/domain"
)

// A feed is what all followers of a process share at the live end of the trail: one reader a
// stream decodes each message once and puts its records into a ring of the most recent
// chunks. For each chunk the feed looks which followers may want something of it and wakes
// those alone, so that one who waits for rare events costs nothing but that look. It lives
// as long as it has followers.
type feed struct {
	trail *Trail
	stop  context.CancelFunc
	begun chan struct{} // closed when low and high are known, or it ends

	mu        sync.Mutex
	followers map[*Follower]struct{}
	chunks    []*chunk // the ring, oldest first
	first     int      // the number of chunks[0], counted from the feed's beginning
	records   int      // in the ring
	bytes     int      // of the messages that they came in
	low       Cursor   // what lies behind it and at or before high is in the ring
	high      Cursor
	err       error // why the feed ended
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
// follower: a thousand followers are looked through fifty times a second at most. What is
// decoded takes some three times the bytes of its messages.
const (
	ringRecords    = 16 << 10
	ringBytes      = 8 << 20
	chunkMessages  = 40 // a message of uses holds some three hundred
	pausePerFellow = 20 * time.Microsecond
	longestPause   = 100 * time.Millisecond
)

// maxCatchUps is how many followers at once read what is no longer in the ring, so that many
// who are behind, or fall behind again and again, leave the ledger to others.
const maxCatchUps = 2

// typeBits has a bit for each type of event.
var typeBits = func() map[string]uint64 {
	bits := map[string]uint64{}
	for i, e := range domain.Events {
		bits[e.EventType()] = 1 << i
	}
	return bits
}()

// join finds the feed that is running, or begins one, and adds f to it.
func (t *Trail) join(f *Follower) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.live == nil || t.live.ended() {
		ctx, cancel := context.WithCancel(context.Background())
		t.live = &feed{trail: t, stop: cancel, begun: make(chan struct{}), followers: map[*Follower]struct{}{}}
		go t.live.run(ctx)
	}
	f.feed = t.live
	f.feed.mu.Lock()
	defer f.feed.mu.Unlock()
	f.feed.followers[f] = struct{}{}
}

// leave takes f out, and ends a feed that has no follower left.
func (t *Trail) leave(f *Follower) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f.feed.mu.Lock()
	defer f.feed.mu.Unlock()
	delete(f.feed.followers, f)
	if len(f.feed.followers) > 0 {
		return
	}
	f.feed.stop()
	if t.live == f.feed {
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
		q := Query{Stream: s, After: d.low.At[s], Live: true, Max: chunkMessages}
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

// end tells every follower that nothing more comes.
func (d *feed) end(err error) {
	if err == nil {
		err = context.Canceled
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err == nil {
		d.err = err
	}
	for f := range d.followers {
		f.rouse()
	}
}

// take puts a batch into the ring. Then, if nothing more has come yet, it waits a little, the
// longer the more followers there are to be looked through for each chunk.
func (d *feed) take(ctx context.Context, s Stream, b Batch) error {
	followers := d.add(s, b)
	pause := min(time.Duration(followers)*pausePerFellow, longestPause)
	if b.Pending > 0 || pause < time.Millisecond {
		return nil
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
	return nil
}

func (d *feed) add(s Stream, b Batch) (followers int) {
	c := newChunk(b)
	d.mu.Lock()
	defer d.mu.Unlock()
	before := d.high
	d.high.moveTo(s, b.Mark.Position)
	c.after = d.high
	number := d.first + len(d.chunks)
	d.chunks = append(d.chunks, c)
	d.records, d.bytes = d.records+len(c.entries), d.bytes+c.bytes
	d.evict()
	for f := range d.followers {
		if f.mayWant(c) {
			f.offer(number, before)
		}
	}
	return len(d.followers)
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
		c.types |= typeBits[r.Event.EventType()]
		if r.Org != last {
			c.orgs[r.Org] = struct{}{}
			last = r.Org
		}
	}
	return c
}

// A Follower is one reader of the trail who stays for what comes. Next is for one goroutine.
type Follower struct {
	trail  *Trail
	filter Filter
	types  uint64 // the bits of the types that it wants
	feed   *feed
	wake   chan struct{} // readable: there may be something

	// Of the goroutine that calls Next, until joined; then under the feed's lock.
	cursor Cursor
	joined bool // cursor is at or behind what the ring still has
	ready  bool // there may be something in the ring behind cursor
	chunk  int  // if ready: the number of the chunk that it may be in
}

// Follow follows what f chooses after c. The follower must be closed.
func (t *Trail) Follow(f Filter, c Cursor) *Follower {
	follower := &Follower{trail: t, filter: f, cursor: c, wake: make(chan struct{}, 1)}
	for _, name := range f.Types {
		follower.types |= typeBits[name]
	}
	if f.Types == nil {
		follower.types = ^uint64(0)
	}
	t.join(follower)
	return follower
}

// Close ends the follower.
func (f *Follower) Close() { f.trail.leave(f) }

func (f *Follower) mayWant(c *chunk) bool {
	if f.types&c.types == 0 {
		return false
	}
	if f.filter.Org == "" {
		return true
	}
	_, ok := c.orgs[f.filter.Org]
	return ok
}

// offer notes the first chunk that f may want since it last took what there was. The feed
// calls it under its lock.
func (f *Follower) offer(number int, before Cursor) {
	if !f.joined || f.ready {
		return
	}
	f.ready, f.chunk = true, number
	f.cursor.advance(before)
	f.rouse()
}

func (f *Follower) rouse() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// Next is the next entries, at most limit. If there are none it waits for some, until a time
// or until ctx ends; the page then has none, and a cursor behind what did not match.
func (f *Follower) Next(ctx context.Context, until time.Time, limit int) (Page, error) {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	for {
		page, err := f.take(ctx, limit)
		if err != nil || len(page.Entries) > 0 || ctx.Err() != nil {
			return page, err
		}
		if !f.joined && time.Now().Before(until) {
			continue
		}
		select {
		case <-f.wake:
		case <-ctx.Done():
			return page, nil
		case <-timer.C:
			return page, nil
		}
	}
}

// take is Next without waiting: it reads on in the ring or, for a follower who is not there
// yet or fell out of it, on the ledger.
func (f *Follower) take(ctx context.Context, limit int) (Page, error) {
	select {
	case <-f.feed.begun:
	case <-ctx.Done():
		return Page{Next: f.cursor}, nil
	}
	chunks, number, page, err := f.look()
	switch {
	case err != nil:
		return page, err
	case !f.joined:
		return f.catchUp(ctx, limit)
	case chunks == nil:
		return page, nil
	}
	return f.choose(chunks, number, page, limit), nil
}

// look takes from the ring the chunks that f has not seen, and notes that it has. page is
// where it was before them, or where it is if there are none.
func (f *Follower) look() (chunks []*chunk, number int, page Page, err error) {
	d := f.feed
	d.mu.Lock()
	defer d.mu.Unlock()
	if !f.joined && f.within(d) {
		f.joined, f.ready, f.chunk = true, true, d.first
	}
	switch {
	case f.joined && f.ready && f.chunk < d.first:
		f.joined, f.ready = false, false // it was too slow: the ring has gone on
	case f.joined && f.ready:
		chunks, number = slices.Clone(d.chunks[f.chunk-d.first:]), f.chunk
		page.Next = f.cursor
		f.ready = false
		f.cursor.advance(d.high)
	case f.joined:
		f.cursor.advance(d.high)
		page = Page{Next: f.cursor, AtEnd: true}
	}
	if chunks == nil {
		err = d.err
	}
	return chunks, number, page, err
}

// within tells whether the ring has all that comes after f's cursor.
func (f *Follower) within(d *feed) bool {
	return f.cursor.after(Events) >= d.low.after(Events) && f.cursor.after(Uses) >= d.low.after(Uses)
}

// choose fills a page with what of chunks matches behind its cursor. If not all of it goes
// in, f takes up there next time.
func (f *Follower) choose(chunks []*chunk, number int, page Page, limit int) Page {
	for i, c := range chunks {
		for _, e := range f.candidates(c) {
			if page.Next.passed(&e.Record) || !f.filter.Matches(&e.Record) {
				continue
			}
			page.Entries = append(page.Entries, e)
			if page.Next.Move(&e.Record); len(page.Entries) == limit {
				f.putBack(number+i, page.Next)
				return page
			}
		}
		page.Next.advance(c.after)
	}
	page.AtEnd = true
	return page
}

// candidates are the entries of a chunk that f has to look at.
func (f *Follower) candidates(c *chunk) []*Entry {
	if !f.mayWant(c) {
		return nil
	}
	return c.entries
}

// putBack lets the next look begin with an earlier chunk, behind c.
func (f *Follower) putBack(number int, c Cursor) {
	f.feed.mu.Lock()
	defer f.feed.mu.Unlock()
	f.ready, f.chunk, f.cursor = true, number, c
}

func (f *Follower) catchUp(ctx context.Context, limit int) (Page, error) {
	select {
	case f.trail.catchUps <- struct{}{}:
		defer func() { <-f.trail.catchUps }()
	case <-ctx.Done():
		return Page{Next: f.cursor}, nil
	}
	page, err := f.trail.Page(ctx, f.filter, f.cursor, limit)
	f.cursor = page.Next
	return page, err
}
