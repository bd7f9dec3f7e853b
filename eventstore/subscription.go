package eventstore

import (
	"context"
	"slices"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/internal/inflight"
)

// How many subscriptions at once read what is no longer in the ring, and how many of one
// organization: those that are behind, or fall behind again and again, leave the ledger to others,
// and an organization that has many of them keeps none of another's waiting.
const (
	maxCatchUps       = 4
	maxCatchUpsPerOrg = 2
)

// A Subscription is one reader of the trail that stays for what comes: it catches up on the
// ledger and goes on in the tail's ring. Next is for one goroutine.
type Subscription struct {
	trail  *Trail
	org    domain.OrgID // that reads
	filter Filter
	types  typeSet // those of the filter
	tail   *tail
	awake  chan struct{} // readable: there may be something

	turns *inflight.Turns[domain.OrgID] // to catch up
	sink  bool
	turn  *inflight.Turn[domain.OrgID] // of the goroutine that calls Next: to catch up; nil: not asked for

	// Of the goroutine that calls Next, until joined; then under the tail's lock.
	cursor Cursor
	joined bool // the ring has everything after cursor, or had when cursor was last moved
	behind bool // there may be something in the ring after cursor
	chunk  int  // if behind: the number of the first chunk that it may be in
}

// Subscribe is an organization's subscription to what f chooses after c. It must be closed.
func (t *Trail) Subscribe(org domain.OrgID, f Filter, c Cursor) *Subscription {
	return t.subscribe(&Subscription{org: org, filter: f, cursor: c, turns: t.catchUps})
}

// SubscribeSink is Subscribe for a sink of an organization. Its pages tell what was pruned.
func (t *Trail) SubscribeSink(org domain.OrgID, f Filter, c Cursor) *Subscription {
	return t.subscribe(&Subscription{org: org, filter: f, cursor: c, turns: t.forwarding, sink: true})
}

func (t *Trail) subscribe(s *Subscription) *Subscription {
	s.trail, s.types, s.awake = t, s.filter.typeSet(), make(chan struct{}, 1)
	t.join(s)
	return s
}

// Close ends the subscription.
func (s *Subscription) Close() {
	s.endTurn()
	s.trail.leave(s)
}

// Next is the next entries, at most limit. If there are none it waits for some, until a time
// or until ctx ends; the page then has none, and a cursor after what did not match. What is
// begun on the ledger may take as long as its answer.
func (s *Subscription) Next(ctx context.Context, until time.Time, limit int) (Page, error) {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	for {
		page, err := s.poll(ctx, until, limit)
		if err != nil || len(page.Entries) > 0 || ctx.Err() != nil {
			return page, err
		}
		if !s.joined && time.Now().Before(until) {
			continue
		}
		select {
		case <-s.awake:
		case <-ctx.Done():
			return page, nil
		case <-timer.C:
			return page, nil
		}
	}
}

// poll is Next without waiting for entries: it reads on in the ring or, for a subscription that
// has not come to it yet or fell out of it, on the ledger.
func (s *Subscription) poll(ctx context.Context, until time.Time, limit int) (Page, error) {
	select {
	case <-s.tail.started:
	case <-ctx.Done():
		return s.emptyPage(), nil
	}
	u, err := s.takeUnseen()
	switch {
	case err != nil:
		return Page{}, err
	case !s.joined:
		return s.catchUp(ctx, until, limit)
	}
	return s.fill(u, limit), nil
}

// emptyPage is one without entries, at the cursor.
func (s *Subscription) emptyPage() Page {
	s.tail.mu.Lock()
	defer s.tail.mu.Unlock()
	return Page{Next: s.cursor}
}

// unseen are the chunks of the ring that may have something after a cursor.
type unseen struct {
	from   Cursor
	chunks []*chunk
	number int // of chunks[0]
}

// takeUnseen takes what the ring has for s, and puts the cursor after it. It tries to join the
// ring first, and leaves it if the ring has dropped what comes next. Its error is the tail's
// once nothing is left.
func (s *Subscription) takeUnseen() (u unseen, err error) {
	tl := s.tail
	tl.mu.Lock()
	defer tl.mu.Unlock()
	if !s.joined && s.inRing() {
		s.joined, s.behind, s.chunk = true, true, tl.first
	}
	if s.joined && s.behind && s.chunk < tl.first {
		s.joined, s.behind = false, false
	}
	switch {
	case s.joined && s.behind:
		u = unseen{from: s.cursor, chunks: slices.Clone(tl.chunks[s.chunk-tl.first:]), number: s.chunk}
		s.behind = false
		s.cursor.advance(tl.high)
	case s.joined:
		s.cursor.advance(tl.high)
		u.from = s.cursor
	}
	if u.chunks == nil {
		err = tl.err
	}
	return u, err
}

// inRing reports whether the ring has all that comes after the cursor.
func (s *Subscription) inRing() bool {
	low := s.tail.low
	return s.cursor.after(Events) >= low.after(Events) && s.cursor.after(Uses) >= low.after(Uses)
}

// fill is a page of what matches in u. If not all of it goes in, s takes up there next time.
func (s *Subscription) fill(u unseen, limit int) Page {
	page := Page{Next: u.from}
	for i, c := range u.chunks {
		if s.mayMatch(c) && s.appendMatches(&page, c, limit) {
			s.resumeAt(u.number+i, page.Next)
			page.AtEnd = !s.matchesIn(u.chunks[i:], page.Next)
			return page
		}
		page.Next.advance(c.after)
	}
	page.AtEnd = true
	return page
}

// mayMatch reports whether the filter may choose an entry of c.
func (s *Subscription) mayMatch(c *chunk) bool {
	return s.types.meets(c.types) && len(s.reached(c)) > 0
}

// reached are the entries of c within the filter's reach.
func (s *Subscription) reached(c *chunk) []*Entry {
	if s.filter.Reach.All {
		return c.entries
	}
	return c.orgs[s.filter.Reach.Org]
}

func (s *Subscription) appendMatches(page *Page, c *chunk, limit int) (full bool) {
	for _, e := range s.reached(c) {
		if page.Next.covers(&e.Record) || !s.filter.Matches(&e.Record) {
			continue
		}
		page.Entries = append(page.Entries, e)
		page.Next.Move(&e.Record)
		if len(page.Entries) == limit {
			return true
		}
	}
	return false
}

// matchesIn reports whether the chunks have an entry for s after c.
func (s *Subscription) matchesIn(chunks []*chunk, c Cursor) bool {
	return slices.ContainsFunc(chunks, func(ch *chunk) bool {
		return s.mayMatch(ch) && slices.ContainsFunc(s.reached(ch), func(e *Entry) bool { return !c.covers(&e.Record) && s.filter.Matches(&e.Record) })
	})
}

// resumeAt makes the next poll begin with an earlier chunk, after c.
func (s *Subscription) resumeAt(number int, c Cursor) {
	s.tail.mu.Lock()
	defer s.tail.mu.Unlock()
	s.behind, s.chunk, s.cursor = true, number, c
}

// minCatchUp is how long a page is read for at least, so that each brings a subscription on.
const minCatchUp = 200 * time.Millisecond

// catchUp is a page that is read on the ledger, when it is the subscription's turn.
func (s *Subscription) catchUp(ctx context.Context, until time.Time, limit int) (Page, error) {
	if !s.waitForTurn(ctx, until) {
		return Page{Next: s.cursor}, nil
	}
	defer s.endTurn()
	page, err := s.trail.page(ctx, s.filter, s.cursor, limit, min(maxPageTime, max(minCatchUp, time.Until(until))))
	if s.sink && err == nil {
		page.Pruned, err = s.trail.pruned(ctx, &s.filter, s.cursor)
	}
	s.cursor = page.Next
	return page, err
}

// pruned are the uses after c that the ledger has no more. It is asked once they were read: what
// is pruned meanwhile may have been missed.
func (t *Trail) pruned(ctx context.Context, f *Filter, c Cursor) (Span, error) {
	if c.At[Uses] == 0 || f.excludes(Uses) {
		return Span{}, nil
	}
	gone, err := t.ledger.Gone(ctx, Uses)
	if err != nil || gone.Position <= c.after(Uses) {
		return Span{}, err
	}
	return Span{From: c.after(Uses) + 1, To: gone.Position}, nil
}

// waitForTurn reports whether it became the subscription's turn. If not, it keeps its place in the
// queue for the next call.
func (s *Subscription) waitForTurn(ctx context.Context, until time.Time) bool {
	if s.turn == nil {
		s.turn = s.turns.Ask(s.org)
	}
	select {
	case <-s.turn.Granted:
		return true
	default:
	}
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-s.turn.Granted:
		return true
	case <-ctx.Done():
	case <-timer.C:
	}
	return false
}

func (s *Subscription) endTurn() {
	if s.turn != nil {
		s.turn.Done()
		s.turn = nil
	}
}

// notify notes the first chunk that s may want since it last took what there was. The tail
// calls it under its lock.
func (s *Subscription) notify(number int, before Cursor) {
	if !s.joined || s.behind {
		return
	}
	s.behind, s.chunk = true, number
	s.cursor.advance(before)
	s.wake()
}

func (s *Subscription) wake() {
	select {
	case s.awake <- struct{}{}:
	default:
	}
}
