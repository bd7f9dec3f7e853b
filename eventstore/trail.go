package eventstore

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/internal/inflight"
)

// A Page is some entries of the trail, in order, and where to go on.
type Page struct {
	Entries []*Entry
	Next    Cursor
	AtEnd   bool // nothing that matches lay beyond it when it was made
	Pruned  Span // of a sink's page: uses before Next that the ledger has no more, and that may not be in it
}

// A Span is messages of a stream, From and To included. The zero Span is none.
type Span struct{ From, To Position }

// A Trail reads both streams as one. Each is in its own order. Between them the place of a use
// is after the event at which it was decided, see merge.go. It is safe for concurrent use.
// There are two locks, Trail.mu and tail.mu, and they are taken in this order.
type Trail struct {
	ledger      *Ledger
	index       TrailIndex                    // nil: everything is read on the ledger
	catchUps    *inflight.Turns[domain.OrgID] // of the subscriptions that read the ledger themselves
	forwarding  *inflight.Turns[domain.OrgID] // likewise, of sinks: they and the API's clients do not wait for each other
	ringRecords int

	mu   sync.Mutex
	tail *tail // that new subscriptions join; nil: there is none
}

// NewTrail is the trail of l. What index has is read there where that is less than to read the
// ledger; nil: there is none.
func NewTrail(l *Ledger, index TrailIndex) *Trail {
	turns := func() *inflight.Turns[domain.OrgID] {
		return inflight.NewTurns[domain.OrgID](maxCatchUps, maxCatchUpsPerOrg)
	}
	return &Trail{ledger: l, index: index, catchUps: turns(), forwarding: turns(), ringRecords: ringRecords}
}

// ErrBeyondEnd says that a cursor lies beyond the ledger's end: it is not of this ledger, or
// the ledger was restored to an older state since.
var ErrBeyondEnd = domain.InvalidField("cursor", "the ledger ends before this cursor; if it was restored from a back-up, begin again without one")

// Check refuses a cursor beyond the ledger's end.
func (t *Trail) Check(ctx context.Context, c Cursor) error {
	for _, s := range Streams {
		if c.At[s] == 0 {
			continue
		}
		if _, err := t.end(ctx, s, c); err != nil {
			return err
		}
	}
	return nil
}

// end is the end of a stream. It refuses a cursor beyond it.
func (t *Trail) end(ctx context.Context, s Stream, c Cursor) (Position, error) {
	end, err := t.ledger.End(ctx, s)
	if err != nil {
		return 0, err
	}
	last := end
	if c.Descending {
		last++
	}
	if c.At[s] > last {
		return 0, ErrBeyondEnd
	}
	return end, nil
}

// The bounds of the work for one page: the messages that are looked at, some hundred thousand
// uses, and the time after which no more is begun. A page that they end has a cursor to go on
// from. pageTimeout is when a ledger that does not answer is given up.
const (
	maxPageBytes = 8 << 20
	maxPageTime  = 5 * time.Second
	pageTimeout  = 30 * time.Second
)

// Page reads at most limit entries after c, in c's order. It has fewer also where looking for
// them would take too long; AtEnd tells that there are no more.
func (t *Trail) Page(ctx context.Context, f Filter, c Cursor, limit int) (Page, error) {
	return t.page(ctx, f, c, limit, maxPageTime)
}

// page is Page, which begins no more work after a duration.
func (t *Trail) page(ctx context.Context, f Filter, c Cursor, limit int, within time.Duration) (Page, error) {
	own, cancel := context.WithTimeout(ctx, pageTimeout)
	defer cancel()
	page := Page{Next: c}
	m, err := t.merge(own, f, c, work{records: limit + 1, bytes: maxPageBytes, until: time.Now().Add(within)})
	if err == nil {
		defer m.close()
		err = page.fill(own, m, limit)
	}
	switch {
	case own.Err() != nil && ctx.Err() == nil && len(page.Entries) == 0:
		err = domain.ErrLedgerUnavailable
	case own.Err() != nil && ctx.Err() == nil, errors.Is(err, errWorkDone):
		err = nil
	}
	return page, err
}

// fill takes entries out of m, and looks whether there is one more than go into the page.
func (p *Page) fill(ctx context.Context, m *merge, limit int) error {
	for {
		r, err := m.peek(ctx)
		p.Next = m.place()
		p.AtEnd = r == nil && err == nil
		if r == nil || len(p.Entries) == limit {
			return err
		}
		p.Entries = append(p.Entries, &Entry{Record: *r})
		m.take()
	}
}

// Replay calls handle with each record after c, up to what is the end when it begins. A record
// is good until handle returns.
func (t *Trail) Replay(ctx context.Context, f Filter, c Cursor, handle func(*Record) error) error {
	m, err := t.merge(ctx, f, c, work{records: replayRecords})
	if err != nil {
		return err
	}
	defer m.close()
	for {
		r, err := m.peek(ctx)
		if r == nil {
			return err
		}
		if err := handle(r); err != nil {
			return err
		}
		m.take()
	}
}
