package eventstore

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/keytrail/keytrail/domain"
)

// A Filter chooses events of both streams. Every empty field but Reach leaves its part out.
type Filter struct {
	Reach    domain.Reach
	Key      domain.KeyID
	Types    []string
	Actor    string
	From, To time.Time // From is included, To is not
}

// Matches tells whether f chooses r.
func (f *Filter) Matches(r *Record) bool {
	return f.Reach.Includes(r.Org) && (f.Key == "" || r.Subject == string(f.Key)) &&
		(f.Types == nil || slices.Contains(f.Types, r.Type)) && (f.Actor == "" || r.Actor == f.Actor) &&
		(f.From.IsZero() || !r.Time.Before(f.From)) && (f.To.IsZero() || r.Time.Before(f.To))
}

// leavesOut tells whether f chooses nothing of a stream: a reader of changes need not look
// at the uses, of which there are a thousand times as many.
func (f *Filter) leavesOut(s Stream) bool {
	return f.Types != nil && !slices.ContainsFunc(f.Types, func(name string) bool { return types[name].Use == (s == Uses) })
}

// query reads what f may choose of a stream.
func (f *Filter) query(s Stream) Query {
	q := Query{Stream: s, Reach: f.Reach}
	if s == Events && f.Reach.Org != "" && f.Key != "" {
		ref := KeyRef(f.Reach.Org, f.Key)
		q.Ref = &ref
	}
	return q
}

// A Cursor is how far both streams have been read: each to its position, that one included,
// and of a message of uses to an index.
type Cursor struct {
	At    [2]Position `json:"p"`
	Index int         `json:"i"`
}

// wholeMessage is the Index of a cursor behind all uses of a message.
const wholeMessage = 1 << 20

var errCursor = errors.New("not a cursor")

// ParseCursor reads what String wrote. "" is before everything.
func ParseCursor(s string) (c Cursor, err error) {
	if s == "" {
		return c, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(s) > 200 || json.Unmarshal(b, &c) != nil || c.Index < 0 || c.Index > wholeMessage || c.At[0] > 1<<62 || c.At[1] > 1<<62 {
		return Cursor{}, errCursor
	}
	return c, nil
}

func (c Cursor) String() string {
	b, _ := json.Marshal(c) // numbers alone
	return base64.RawURLEncoding.EncodeToString(b)
}

// after is the last message of which nothing is left to be read.
func (c Cursor) after(s Stream) Position {
	if s == Uses && c.Index < wholeMessage && c.At[s] > 0 {
		return c.At[s] - 1
	}
	return c.At[s]
}

func (c Cursor) passed(r *Record) bool {
	at := c.At[r.Stream]
	return r.Position < at || r.Position == at && (r.Stream == Events || r.Index <= c.Index)
}

// Move puts c behind r.
func (c *Cursor) Move(r *Record) {
	c.At[r.Stream] = r.Position
	if r.Stream == Uses {
		c.Index = r.Index
	}
}

// moveTo puts c behind the message at p.
func (c *Cursor) moveTo(s Stream, p Position) {
	if p <= c.after(s) {
		return
	}
	c.At[s] = p
	if s == Uses {
		c.Index = wholeMessage
	}
}

// advance puts c behind all that o is behind, which must be whole messages.
func (c *Cursor) advance(o Cursor) {
	c.moveTo(Events, o.At[Events])
	c.moveTo(Uses, o.At[Uses])
}

// An Entry is a record of the trail.
type Entry struct {
	Record

	once  sync.Once
	event []byte
	err   error
}

// CloudEvent is the record's, made once for all subscriptions that are sent it.
func (e *Entry) CloudEvent() ([]byte, error) {
	e.once.Do(func() { e.event, e.err = e.Record.CloudEvent() })
	return e.event, e.err
}

// A Page is some entries of the trail, in order, and where to go on.
type Page struct {
	Entries []*Entry
	Next    Cursor
	AtEnd   bool // there was nothing more yet
}

// A Trail reads both streams as one: each in its own order, and between them by the time of
// storing. It is safe for concurrent use.
type Trail struct {
	ledger *Ledger

	mu   sync.Mutex
	live *feed // that new subscriptions join; nil: there is none

	catchUps    chan struct{} // holds one for each subscription that reads for itself
	ringRecords int
}

// NewTrail is the trail of l.
func NewTrail(l *Ledger) *Trail {
	return &Trail{ledger: l, catchUps: make(chan struct{}, maxCatchUps), ringRecords: ringRecords}
}

// maxScanned bounds the records that one page looks at, and pageTimeout its time.
const (
	maxScanned  = 20_000
	pageTimeout = 30 * time.Second
)

// ErrBeyondEnd says that a cursor lies beyond the ledger's end: it is not of this ledger, or
// the ledger was restored to an older state since.
var ErrBeyondEnd = domain.InvalidField("cursor", "the ledger ends before this cursor; if it was restored from a back-up, begin again without one")

// Check refuses a cursor beyond the ledger's end.
func (t *Trail) Check(ctx context.Context, c Cursor) error {
	for _, s := range []Stream{Events, Uses} {
		if c.At[s] == 0 {
			continue
		}
		if end, err := t.ledger.End(ctx, s); err != nil {
			return err
		} else if c.At[s] > end {
			return ErrBeyondEnd
		}
	}
	return nil
}

// Page reads at most limit entries after c.
func (t *Trail) Page(ctx context.Context, f Filter, c Cursor, limit int) (Page, error) {
	own, cancel := context.WithTimeout(ctx, pageTimeout)
	defer cancel()
	page, scanned := Page{Next: c}, 0
	full := errors.New("the page is full")
	atEnd, err := t.read(own, f, &page.Next, func(r *Record) error {
		if f.Matches(r) {
			page.Entries = append(page.Entries, &Entry{Record: *r})
		}
		if scanned++; scanned == maxScanned || len(page.Entries) == limit {
			return full
		}
		return nil
	})
	page.AtEnd = atEnd
	if errors.Is(err, full) {
		err = nil
	}
	if own.Err() != nil && ctx.Err() == nil {
		err = domain.ErrLedgerUnavailable
	}
	return page, err
}

// Replay hands each entry after c to handle, up to what is the end when it begins.
func (t *Trail) Replay(ctx context.Context, f Filter, c Cursor, handle func(*Entry) error) error {
	_, err := t.read(ctx, f, &c, func(r *Record) error {
		if !f.Matches(r) {
			return nil
		}
		return handle(&Entry{Record: *r})
	})
	return err
}

// read hands the records after c that f's queries find to handle, up to what is the end when it
// begins, and moves c behind each. It tells whether it came to the end.
func (t *Trail) read(ctx context.Context, f Filter, c *Cursor, handle func(*Record) error) (atEnd bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	var sources [2]*source
	defer func() {
		cancel()
		for _, s := range sources {
			s.wait()
		}
	}()
	if err := t.begin(ctx, f, c); err != nil {
		return false, err
	}
	for i := range sources {
		if sources[i], err = t.open(ctx, f, Stream(i), c); err != nil {
			return false, err
		}
	}
	for {
		r, err := earlier(ctx, sources)
		if err != nil {
			return false, err
		}
		if r == nil {
			break
		}
		if c.passed(r) {
			continue
		}
		c.Move(r)
		if err := handle(r); err != nil {
			return false, err
		}
	}
	for _, s := range sources {
		whole, err := t.settle(ctx, s, c)
		if err != nil || !whole {
			return false, err
		}
	}
	return true, nil
}

// lateness is how long after it happened an event may have been stored for a Filter's From
// to find it.
const lateness = time.Minute

// begin moves a new cursor to where a stream holds the first events that f may choose.
func (t *Trail) begin(ctx context.Context, f Filter, c *Cursor) error {
	for _, s := range []Stream{Events, Uses} {
		if c.At[s] > 0 || f.From.IsZero() || f.leavesOut(s) {
			continue
		}
		p, err := t.ledger.seek(ctx, s, f.From.Add(-lateness))
		if err != nil {
			return err
		}
		c.moveTo(s, p)
	}
	return nil
}

// seek is the position behind which a stream has what was stored at a time or later. A server
// tells by making a consumer that begins there.
func (l *Ledger) seek(ctx context.Context, s Stream, at time.Time) (p Position, err error) {
	config := jetstream.ConsumerConfig{DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &at, AckPolicy: jetstream.AckNonePolicy,
		MemoryStorage: true, Replicas: 1, InactiveThreshold: time.Second}
	err = retry(ctx, func(ctx context.Context) error {
		consumer, err := l.streams[s].CreateConsumer(ctx, config)
		if err != nil {
			return err
		}
		info := consumer.CachedInfo()
		p = Position(info.Delivered.Stream)
		return l.streams[s].DeleteConsumer(ctx, info.Name)
	})
	return p, err
}

// A source is one stream being read by a goroutine of its own, batch by batch.
type source struct {
	query   Query
	end     Position      // of the stream when reading began
	batches chan []Record // closed behind the last one; nil: there is nothing to read
	taken   chan struct{} // the last batch's memory may be used again
	err     error         // of the reading, once batches is closed
	records []Record      // not yet given out
	given   bool          // records are of a batch that is not yet returned
}

// open begins to read what f may choose of a stream after c. It moves c past a stream that
// f leaves out.
func (t *Trail) open(ctx context.Context, f Filter, stream Stream, c *Cursor) (*source, error) {
	s := &source{query: f.query(stream)}
	var err error
	if s.end, err = t.ledger.End(ctx, stream); err != nil {
		return nil, err
	}
	if c.At[stream] > s.end {
		return nil, ErrBeyondEnd
	}
	if f.leavesOut(stream) {
		c.moveTo(stream, s.end)
	}
	if s.query.After = c.after(stream); s.query.After == s.end {
		return s, nil
	}
	s.batches, s.taken = make(chan []Record), make(chan struct{})
	go func() {
		defer close(s.batches)
		s.err = t.ledger.Read(ctx, s.query, s.hand(ctx))
	}()
	return s, nil
}

// hand gives a batch out and waits until it is returned, for its memory is used again.
func (s *source) hand(ctx context.Context) func(Batch) error {
	return func(b Batch) error {
		select {
		case s.batches <- b.Records:
		case <-ctx.Done():
			return ctx.Err()
		}
		select {
		case <-s.taken:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// wait returns when the goroutine has ended; its context must have.
func (s *source) wait() {
	if s == nil || s.batches == nil {
		return
	}
	for range s.batches {
	}
}

// head is the next record, nil at the end of the stream. It waits for one.
func (s *source) head(ctx context.Context) (*Record, error) {
	for s.batches != nil {
		if len(s.records) == 0 {
			if err := s.refill(ctx); err != nil {
				return nil, err
			}
			continue
		}
		if s.records[0].Position <= s.end {
			return &s.records[0], nil
		}
		s.records = s.records[1:] // stored after the reading began
	}
	return nil, nil
}

// refill returns the last batch and waits for the next one; behind the last, batches is nil.
func (s *source) refill(ctx context.Context) error {
	if s.given {
		select {
		case s.taken <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if s.records, s.given = <-s.batches; s.given {
		return nil
	}
	s.batches = nil
	return errors.Join(s.err, ctx.Err())
}

// earlier takes the record that was stored first of what both sources have next, nil if they
// are at their end.
func earlier(ctx context.Context, sources [2]*source) (*Record, error) {
	var first *source
	var at time.Time
	for _, s := range sources {
		r, err := s.head(ctx)
		if err != nil {
			return nil, err
		}
		if r != nil && (first == nil || r.Stored.Before(at)) {
			first, at = s, r.Stored
		}
	}
	if first == nil {
		return nil, nil
	}
	r := &first.records[0]
	first.records = first.records[1:]
	return r, nil
}

// settle moves c to the end of a stream that was read to it, so that what the query left out
// is not looked at again. The server that read may lag behind the stream's leader, which is
// therefore asked whether something is left.
func (t *Trail) settle(ctx context.Context, s *source, c *Cursor) (whole bool, err error) {
	stream := s.query.Stream
	if c.At[stream] < s.end {
		next, err := t.ledger.get(ctx, stream, c.At[stream]+1, jetstream.WithGetMsgSubject(s.query.subject()))
		if err == nil && next.position <= s.end {
			return false, nil
		}
		if err != nil && !errors.Is(err, ErrNoSuchPosition) {
			return false, err
		}
	}
	c.moveTo(stream, s.end)
	return true, nil
}
