package commands

import (
	"context"
	"errors"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// An address is of one user, and users and addresses are aggregates of their own. A user gets an
// address so:
//
//  1. The user's history is loaded.
//  2. The address is claimed for the user. After a crash here it is claimed for one who does not have
//     it: the next command that claims it makes that user forgo it, see claimAddress.
//  3. The user is created or changed, on the condition that the history is as in step 1: if the user
//     forwent the address since, the command begins again.
//  4. The user's former address is released. After a crash here it is like after step 2.
//
// So no clock and no lock decides; claimGrace only keeps two that want one address at once from
// taking it from each other.

// claimGrace is how long a claim is left to who made it: no command takes longer.
const claimGrace = 2 * eventstore.Deadline

// addressAttempts is how often a command on a user begins again because the user was changed.
const addressAttempts = 5

// withAddress carries out a command on a user who is to have an address.
func (h *Handler) withAddress(ctx context.Context, id domain.UserID, r Request, email string, decide func(domain.User) (domain.Event, error)) (result UserResult, err error) {
	for range addressAttempts {
		u, at, err := h.loadUser(ctx, id)
		if err != nil {
			return result, err
		}
		refused := error(nil)
		if u.Email != email && u.Status() != domain.RemovedUser {
			refused = h.claimAddress(ctx, r, id, email)
		}
		conditional := r
		if r.IfMatch == 0 {
			conditional.IfMatch = at
		}
		result, err = h.onUser(ctx, id, conditional, func(now domain.User) (domain.Event, error) {
			if now.Forgone && at == 0 {
				return nil, domain.ErrRevisionStale
			}
			if refused != nil { // unless the command was carried out before
				return nil, refused
			}
			return decide(now)
		})
		if err == nil && u.Email != "" && u.Email != result.User.Email {
			err = h.releaseAddress(ctx, r, id, u.Email)
		}
		if r.IfMatch != 0 || !errors.Is(err, domain.ErrRevisionStale) {
			return result, err
		}
	}
	return result, domain.ErrKeyBusy
}

// claimAddress makes an address a user's. One that was claimed for another who does not have it, and
// is not about to get it, is forgone for them first.
func (h *Handler) claimAddress(ctx context.Context, r Request, user domain.UserID, email string) error {
	_, err := execute(ctx, h, eventstore.AddressRef(email), r.part(), nil, func(a domain.Address) (domain.Event, error) {
		c := domain.ClaimAddress{Principalled: h.principalled(r.By), Email: email, User: user}
		if a.User != "" && a.User != user && c.At.Sub(a.At) > claimGrace {
			if err := h.forgoAddress(ctx, r, a.User, email); err != nil {
				return nil, err
			}
			c.Forgone = a.User
		}
		return a.Claim(c)
	})
	return err
}

// forgoAddress makes sure that a user does not have an address, and that nothing that was decided
// until now gives it to them.
func (h *Handler) forgoAddress(ctx context.Context, r Request, user domain.UserID, email string) error {
	_, err := execute(ctx, h, eventstore.UserRef(user), r.part(), nil, func(u domain.User) (domain.Event, error) {
		return u.Forgo(h.principalled(r.By), email)
	})
	return err
}

func (h *Handler) releaseAddress(ctx context.Context, r Request, user domain.UserID, email string) error {
	_, err := execute(ctx, h, eventstore.AddressRef(email), r.part(), nil, func(a domain.Address) (domain.Event, error) {
		return a.Release(domain.ReleaseAddress{Principalled: h.principalled(r.By), Email: email, User: user})
	})
	return err
}

// part is the request of one of several steps, which has a command id of its own: what it does may
// have been undone since an earlier call.
func (r Request) part() Request { return Request{By: r.By, Correlation: r.Correlation} }
