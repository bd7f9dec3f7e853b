package eventstore

import (
	"context"
	"slices"
	"time"
)

// maxCatchUps is how many subscriptions at once read what is no longer in the ring, so that many
// who are behind, or fall behind again and again, leave the ledger to others.
const maxCatchUps = 2

// A Subscription is one reader of the trail who stays for what comes: it catches up on the ledger
// and goes on in the feed. Next is for one goroutine.
type Subscription struct {
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

// Subscribe is a subscription to what f chooses after c. It must be closed.
func (t *Trail) Subscribe(f Filter, c Cursor) *Subscription {
	s := &Subscription{trail: t, filter: f, cursor: c, wake: make(chan struct{}, 1)}
	for _, name := range f.Types {
		s.types |= typeBits[name]
	}
	if f.Types == nil {
		s.types = ^uint64(0)
	}
	t.join(s)
	return s
}

// Close ends the subscription.
func (s *Subscription) Close() { s.trail.leave(s) }

func (s *Subscription) mayWant(c *chunk) bool {
	if s.types&c.types == 0 {
		return false
	}
	if s.filter.Reach.All {
		return true
	}
	_, ok := c.orgs[s.filter.Reach.Org]
	return ok
}

// offer notes the first chunk that s may want since it last took what there was. The feed
// calls it under its lock.
func (s *Subscription) offer(number int, before Cursor) {
	if !s.joined || s.ready {
		return
	}
	s.ready, s.chunk = true, number
	s.cursor.advance(before)
	s.rouse()
}

func (s *Subscription) rouse() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Next is the next entries, at most limit. If there are none it waits for some, until a time
// or until ctx ends; the page then has none, and a cursor behind what did not match.
func (s *Subscription) Next(ctx context.Context, until time.Time, limit int) (Page, error) {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	for {
		page, err := s.take(ctx, limit)
		if err != nil || len(page.Entries) > 0 || ctx.Err() != nil {
			return page, err
		}
		if !s.joined && time.Now().Before(until) {
			continue
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
			return page, nil
		case <-timer.C:
			return page, nil
		}
	}
}

// take is Next without waiting: it reads on in the ring or, for a subscription that is not there
// yet or fell out of it, on the ledger.
func (s *Subscription) take(ctx context.Context, limit int) (Page, error) {
	select {
	case <-s.feed.begun:
	case <-ctx.Done():
		return Page{Next: s.cursor}, nil
	}
	chunks, number, page, err := s.look()
	switch {
	case err != nil:
		return page, err
	case !s.joined:
		return s.catchUp(ctx, limit)
	case chunks == nil:
		return page, nil
	}
	return s.choose(chunks, number, page, limit), nil
}

// look takes from the ring the chunks that s has not seen, and notes that it has. page is
// where it was before them, or where it is if there are none.
func (s *Subscription) look() (chunks []*chunk, number int, page Page, err error) {
	d := s.feed
	d.mu.Lock()
	defer d.mu.Unlock()
	if !s.joined && s.within(d) {
		s.joined, s.ready, s.chunk = true, true, d.first
	}
	switch {
	case s.joined && s.ready && s.chunk < d.first:
		s.joined, s.ready = false, false // it was too slow: the ring has gone on
	case s.joined && s.ready:
		chunks, number = slices.Clone(d.chunks[s.chunk-d.first:]), s.chunk
		page.Next = s.cursor
		s.ready = false
		s.cursor.advance(d.high)
	case s.joined:
		s.cursor.advance(d.high)
		page = Page{Next: s.cursor, AtEnd: true}
	}
	if chunks == nil {
		err = d.err
	}
	return chunks, number, page, err
}

// within tells whether the ring has all that comes after s's cursor.
func (s *Subscription) within(d *feed) bool {
	return s.cursor.after(Events) >= d.low.after(Events) && s.cursor.after(Uses) >= d.low.after(Uses)
}

// choose fills a page with what of chunks matches behind its cursor. If not all of it goes
// in, s takes up there next time.
func (s *Subscription) choose(chunks []*chunk, number int, page Page, limit int) Page {
	for i, c := range chunks {
		for _, e := range s.candidates(c) {
			if page.Next.passed(&e.Record) || !s.filter.Matches(&e.Record) {
				continue
			}
			page.Entries = append(page.Entries, e)
			if page.Next.Move(&e.Record); len(page.Entries) == limit {
				s.putBack(number+i, page.Next)
				return page
			}
		}
		page.Next.advance(c.after)
	}
	page.AtEnd = true
	return page
}

// candidates are the entries of a chunk that s has to look at.
func (s *Subscription) candidates(c *chunk) []*Entry {
	if !s.mayWant(c) {
		return nil
	}
	return c.entries
}

// putBack lets the next look begin with an earlier chunk, behind c.
func (s *Subscription) putBack(number int, c Cursor) {
	s.feed.mu.Lock()
	defer s.feed.mu.Unlock()
	s.ready, s.chunk, s.cursor = true, number, c
}

func (s *Subscription) catchUp(ctx context.Context, limit int) (Page, error) {
	select {
	case s.trail.catchUps <- struct{}{}:
		defer func() { <-s.trail.catchUps }()
	case <-ctx.Done():
		return Page{Next: s.cursor}, nil
	}
	page, err := s.trail.Page(ctx, s.filter, s.cursor, limit)
	s.cursor = page.Next
	return page, err
}
