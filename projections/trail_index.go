package projections

import (
	"context"
	"errors"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

var _ eventstore.TrailIndex = (*Store)(nil)

// What is read from one snapshot, which is given back before the caller gets it: a slow caller
// keeps no old rows on disk. Messages are 64 KiB at most, and most of them 3.
const (
	messagesAtOnce  = 64
	positionsAtOnce = 1000
)

// Indexed is part of eventstore.TrailIndex.
func (s *Store) Indexed(stream eventstore.Stream) eventstore.Position {
	of := s.orgEvents
	if stream == eventstore.Uses {
		of = s.postings
	}
	now := of.snapshot()
	defer now.release()
	return s.indexed(now, stream)
}

// indexed is the end of what a snapshot has for the index. Posting lists that are not flushed
// count, of messages that are published.
func (s *Store) indexed(now *snapshot, stream eventstore.Stream) eventstore.Position {
	if stream == eventstore.Events {
		return now.tables[s.orgEvents.slot].position
	}
	unflushed := now.tables[s.postings.slot].unflushed
	if unflushed == nil {
		return 0
	}
	return min(unflushed.reached(), now.tables[s.messages.slot].position)
}

// Uses is part of eventstore.TrailIndex.
func (s *Store) Uses(ctx context.Context, q eventstore.UseQuery, each func(*eventstore.Raw) (more bool, err error)) error {
	gone := eventstore.Position(s.postings.engine.gone.Load())
	left := positionSpan{after: max(q.After, gone), upto: q.Upto, descending: q.Descending}
	terms := s.termsOf(q)
	for left.after < left.upto {
		var found []eventstore.Raw
		var err error
		if found, left, err = s.copies(terms, left); err != nil {
			return err
		}
		for i := range found {
			more, err := s.give(ctx, &found[i], each)
			if err != nil || !more {
				return err
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// termsOf are what the messages that q asks for have in common. A key is of one organization; one
// that is not known to be of q's is looked for among all uses of that, so that the work, and with it
// the time and the cursor of a page, tells nothing of another organization's key.
func (s *Store) termsOf(q eventstore.UseQuery) (terms []term) {
	switch {
	case q.Key != "" && (q.Org == "" || s.isOf(q.Key, q.Org)):
		terms = append(terms, keyTerm(q.Key))
	case q.Org != "":
		terms = append(terms, orgTerm(q.Org))
	}
	if t, exists := outcomeTerm(q.Code); exists {
		terms = append(terms, t)
	}
	return terms
}

func (s *Store) isOf(key domain.KeyID, org domain.OrgID) bool {
	if key.IsSession() {
		x, err := s.Session(domain.SessionID(key)) // of one that has ended nothing is known
		return err == nil && x.Org == org
	}
	_, err := s.Key(domain.Only(org), key)
	return err == nil
}

// copies are the first messages in a span that have all terms. One without a header could not be
// read.
func (s *Store) copies(terms []term, span positionSpan) (found []eventstore.Raw, rest positionSpan, err error) {
	now := s.postings.snapshot()
	defer now.release()
	if s.indexed(now, eventstore.Uses) < span.upto {
		return nil, span, domain.ErrReadModelBehind // it is built again
	}
	positions, rest, err := now.postings(s.postings.slot, terms, span, messagesAtOnce)
	if err != nil {
		return nil, span, err
	}
	r := now.rows(s.messages.slot)
	for _, p := range positions {
		m := eventstore.Raw{Position: p}
		_, _ = r.get(messageRow(p), func(v []byte) (err error) { // the ledger has it too, see give
			m, err = decodeMessage(p, v)
			m.Position = p
			return err
		})
		found = append(found, m)
	}
	return found, rest, nil
}

// give calls each with a message. What a power cut took of the copies is read from the ledger,
// unless it has aged out.
func (s *Store) give(ctx context.Context, m *eventstore.Raw, each func(*eventstore.Raw) (more bool, err error)) (more bool, err error) {
	if m.Header == nil {
		*m, err = s.ledger.Load().Message(ctx, eventstore.Uses, m.Position)
		if errors.Is(err, eventstore.ErrNoSuchPosition) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
	}
	return each(m)
}

// OrgEvents is part of eventstore.TrailIndex.
func (s *Store) OrgEvents(ctx context.Context, org domain.OrgID, after, upto eventstore.Position, descending bool, each func(eventstore.Position) (more bool)) error {
	left := positionSpan{after, upto, descending}
	for left.after < left.upto {
		var found []eventstore.Position
		var err error
		if found, left, err = s.eventsOf(org, left); err != nil {
			return err
		}
		for _, p := range found {
			if !each(p) {
				return nil
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// eventsOf are the first positions of an organization's events in a span.
func (s *Store) eventsOf(org domain.OrgID, span positionSpan) (found []eventstore.Position, rest positionSpan, err error) {
	now := s.orgEvents.snapshot()
	defer now.release()
	if s.indexed(now, eventstore.Events) < span.upto {
		return nil, span, domain.ErrReadModelBehind // it is built again
	}
	return now.postings(s.orgEvents.slot, []term{orgTerm(org)}, span, positionsAtOnce)
}
