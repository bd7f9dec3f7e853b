package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/projections"
)

// A DepartureBody says what becomes of the keys that a person owns who is removed.
type DepartureBody struct {
	Keys departedKeys `json:"keys" doc:"revoke ends them; hand_over gives them to another owner, with the secrets that they have."`
	To   string       `json:"to,omitempty" maxLength:"200" doc:"Of hand_over: the new owner."`
}

// The values of DepartureBody.Keys.
const (
	revokeDeparted   departedKeys = "revoke"
	handOverDeparted departedKeys = "hand_over"
)

// A Departure counts what became of the keys.
type Departure struct {
	Revoked    int `json:"revoked"`
	HandedOver int `json:"handed_over"`
}

type departureAnswer struct {
	Status   int
	Position uint64 `header:"Keytrail-Position" doc:"Give it as after to a reader of another node."`
	Body     *Departure
}

// A departure is the removal of a person from an organization, or from all.
type departure struct {
	request commands.Request
	reach   domain.Reach
	user    domain.UserID
	body    *DepartureBody // nil: nothing is said of the keys
	remove  func() (eventstore.Position, error)
}

// depart removes a person and carries out what is to become of their keys. Keys are handed over
// before, because those of who is gone are refused and in the end revoked; they are revoked after,
// because they are refused from the removal on. After a crash the same request goes on: each step
// finds what is left to do.
func (s *server) depart(ctx context.Context, p domain.Principal, d departure) (*departureAnswer, error) {
	a := &departureAnswer{Status: http.StatusNoContent}
	if d.body != nil {
		a.Status, a.Body = http.StatusOK, &Departure{}
		if err := s.mayDepart(p, d); err != nil {
			return nil, err
		}
		if d.body.Keys == handOverDeparted {
			var err error
			if a.Body.HandedOver, err = s.eachOwnedKey(ctx, d, s.handOver); err != nil {
				return nil, err
			}
		}
	}
	at, gone := d.remove()
	if gone != nil && !(errors.Is(gone, domain.ErrMemberNotFound) && d.revokes()) {
		return nil, gone
	}
	if err := s.waitFor(ctx, at); err != nil {
		return nil, err
	}
	if d.revokes() {
		var err error
		if a.Body.Revoked, err = s.eachOwnedKey(ctx, d, s.revokeDeparted); err != nil {
			return nil, err
		}
		if gone != nil && a.Body.Revoked == 0 {
			return nil, gone // a stranger, and not one whose removal is repeated
		}
	}
	a.Position = uint64(max(at, s.Store.Position()))
	return a, nil
}

func (d *departure) revokes() bool { return d.body != nil && d.body.Keys == revokeDeparted }

// mayDepart refuses what would leave keys half handed over.
func (s *server) mayDepart(p domain.Principal, d departure) error {
	if err := p.Demand("keys:write"); err != nil {
		return err
	}
	if d.revokes() {
		if d.body.To != "" {
			return domain.InvalidField("to", "stands beside hand_over only")
		}
		return nil
	}
	if d.body.To == "" || d.body.To == string(d.user) {
		return domain.InvalidField("to", "name the owner who gets the keys")
	}
	return s.mayBeRemoved(d)
}

// mayBeRemoved refuses the removal of a last owner before a key is handed over, and of keys to be
// handed to a user who is gone.
func (s *server) mayBeRemoved(d departure) error {
	memberships, err := s.Store.Memberships(d.user)
	if err != nil {
		return err
	}
	member := false
	for _, m := range memberships {
		if !d.reach.Includes(m.Org) {
			continue
		}
		member = true
		roles, _, err := s.Store.Roles(m.Org)
		if err == nil && m.Role == domain.RoleOwner && roles[domain.RoleOwner].Members <= 1 {
			err = domain.LastOwnerOf(m.Org)
		}
		if err == nil {
			err = s.mayOwn(m.Org, d.body.To)
		}
		if err != nil {
			return err
		}
	}
	if !member && !d.reach.All {
		return domain.ErrMemberNotFound
	}
	return nil
}

// mayOwn refuses an owner whose keys are refused: a user who is no member any more.
func (s *server) mayOwn(org domain.OrgID, owner string) error {
	state, err := s.Store.Departed(org, owner)
	if err == nil && state != domain.Active {
		err = domain.InvalidField("to", "is a user who is disabled, removed, or no member any more")
	}
	return err
}

// departurePasses is how often the keys of a person are gone through: some can be changed, or made,
// meanwhile.
const departurePasses = 3

// eachOwnedKey carries out do for each key of a departing person that is not at its end, page by
// page, many at once, and counts them. Keys that were changed meanwhile are for the next pass.
func (s *server) eachOwnedKey(ctx context.Context, d departure, do func(context.Context, departure, *projections.KeyRow) (commands.KeyResult, error)) (count int, err error) {
	if err := s.waitForEnd(ctx); err != nil {
		return 0, err
	}
	for range departurePasses {
		again := false
		q := projections.KeyQuery{Reach: d.reach, Owner: string(d.user), Sort: "created_at", Limit: 1000, Now: s.Now()}
		for {
			page, err := s.Store.Keys(q)
			if err != nil {
				return count, err
			}
			done, stale, err := s.eachOfPage(ctx, d, page.Keys, do)
			if count, again = count+done, again || stale; err != nil {
				return count, err
			}
			if q.Cursor = page.NextCursor; q.Cursor == "" {
				break
			}
		}
		if !again {
			return count, nil
		}
	}
	return count, domain.ErrKeyBusy
}

func (s *server) eachOfPage(ctx context.Context, d departure, rows []projections.KeyRow, do func(context.Context, departure, *projections.KeyRow) (commands.KeyResult, error)) (done int, stale bool, err error) {
	var keys []*projections.KeyRow
	for i := range rows {
		if !rows[i].AtEnd(s.Now()) {
			keys = append(keys, &rows[i])
		}
	}
	var last eventstore.Position
	inParallel(s, keys, func(k *projections.KeyRow) (commands.KeyResult, error) { return do(ctx, d, k) }, func(_ int, r commands.KeyResult, failure error) {
		switch last = max(last, r.Position); {
		case failure == nil:
			done++
		case errors.Is(failure, domain.ErrRevisionStale):
			stale = true
		default:
			err = failure
		}
	})
	if waited := s.waitFor(ctx, last); err == nil {
		err = waited
	}
	return done, stale, err
}

// handOver gives a key to another owner, unless it was changed since it was read: it may have got
// one already.
func (s *server) handOver(ctx context.Context, d departure, k *projections.KeyRow) (commands.KeyResult, error) {
	return s.Commands.UpdateKey(ctx, commands.UpdateKey{Request: commands.Request{By: d.request.By, Correlation: d.request.Correlation, IfMatch: k.Revision},
		Org: k.Org, Key: k.ID, Changes: domain.Changes{Owner: &d.body.To}})
}

func (s *server) revokeDeparted(ctx context.Context, d departure, k *projections.KeyRow) (commands.KeyResult, error) {
	return s.Commands.RevokeKey(ctx, commands.RevokeKey{Request: commands.Request{By: d.request.By, Correlation: d.request.Correlation},
		Org: k.Org, Key: k.ID, Reason: domain.AffiliationChanged, Comment: "its owner was removed"})
}
