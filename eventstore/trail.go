package eventstore

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/keytrail/keytrail/domain"
)

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
// storing. It is safe for concurrent use. There are two locks, Trail.mu and tail.mu, and they
// are taken in this order.
type Trail struct {
	ledger      *Ledger
	catchUps    chan struct{} // a semaphore: one for each subscription that reads the ledger itself
	ringRecords int

	mu   sync.Mutex
	tail *tail // that new subscriptions join; nil: there is none
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

var errPageFull = errors.New("the page is full")

// ErrBeyondEnd says that a cursor lies beyond the ledger's end: it is not of this ledger, or
// the ledger was restored to an older state since.
var ErrBeyondEnd = domain.InvalidField("cursor", "the ledger ends before this cursor; if it was restored from a back-up, begin again without one")

// Check refuses a cursor beyond the ledger's end.
func (t *Trail) Check(ctx context.Context, c Cursor) error {
	for _, s := range Streams {
		if c.At[s] == 0 {
			continue
		}
		end, err := t.ledger.End(ctx, s)
		if err != nil {
			return err
		}
		if c.At[s] > end {
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
	atEnd, err := t.read(own, f, &page.Next, func(r *Record) error {
		if f.Matches(r) {
			page.Entries = append(page.Entries, &Entry{Record: *r})
		}
		scanned++
		if scanned == maxScanned || len(page.Entries) == limit {
			return errPageFull
		}
		return nil
	})
	page.AtEnd = atEnd
	if errors.Is(err, errPageFull) {
		err = nil
	}
	if own.Err() != nil && ctx.Err() == nil {
		err = domain.ErrLedgerUnavailable
	}
	return page, err
}

// Replay calls handle with each entry after c, up to what is the end when it begins.
func (t *Trail) Replay(ctx context.Context, f Filter, c Cursor, handle func(*Entry) error) error {
	_, err := t.read(ctx, f, &c, func(r *Record) error {
		if !f.Matches(r) {
			return nil
		}
		return handle(&Entry{Record: *r})
	})
	return err
}
