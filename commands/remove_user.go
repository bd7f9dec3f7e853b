package commands

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"

	"github.com/keytrail/keytrail/domain"
)

// RemoveUser ends a user for good.
type RemoveUser struct {
	Request
	User domain.UserID
}

// removalParallelism is how many memberships of a removed user end at a time: the ledger writes them
// together.
const removalParallelism = 16

// RemoveUser carries out c. What a crash leaves behind, a repetition finishes:
//
//  1. Nothing happens if an organization would be left without an owner.
//  2. The memberships end, of which the index knows. An owner who became the last one meanwhile stays.
//  3. The user is removed. A membership that began since step 2 gives nothing to who is removed.
//  4. The address is released. After a crash before that another user can claim it, too.
func (h *Handler) RemoveUser(ctx context.Context, c RemoveUser) (UserResult, error) {
	err := h.mayManage(ctx, c.By, c.User)
	if err != nil {
		return UserResult{}, err
	}
	u, _, err := h.loadUser(ctx, c.User)
	if err == nil {
		_, err = u.Remove(h.principalled(c.By))
	}
	if err == nil {
		err = h.endMemberships(ctx, c)
	}
	if err != nil {
		return UserResult{}, err
	}
	result, err := h.onUser(ctx, c.User, c.Request, func(u domain.User) (domain.Event, error) {
		return u.Remove(h.principalled(c.By))
	})
	if err == nil {
		err = h.releaseAddress(ctx, c.Request, c.User, result.User.Email)
	}
	return result, err
}

// endMemberships ends all memberships of a user, or none if one cannot end.
func (h *Handler) endMemberships(ctx context.Context, c RemoveUser) error {
	if h.people == nil {
		return nil
	}
	orgs, err := h.people.OrganizationsOf(c.User)
	if err != nil {
		return err
	}
	about := concerned{users: []domain.UserID{c.User}}
	removal := func() domain.RemoveMember {
		// A principal that may remove users need not hold what each role of theirs can do.
		by := domain.Principal{ID: c.By.ID, Org: domain.Installation, Scopes: domain.System.Scopes}
		return domain.RemoveMember{Principalled: h.principalled(by), User: c.User, Reason: domain.RemovedWithUser}
	}
	if err := eachOrganization(ctx, orgs, func(ctx context.Context, org domain.OrgID) error {
		m, err := h.members(ctx, org, about)
		if err == nil {
			_, err = m.Remove(removal())
		}
		return err
	}); err != nil {
		return err
	}
	return eachOrganization(ctx, orgs, func(ctx context.Context, org domain.OrgID) error {
		_, err := h.onMembers(ctx, org, c.part(), about, func(m domain.Members) (domain.Event, error) { return m.Remove(removal()) })
		return err
	})
}

// eachOrganization does something for each, some at a time. That a membership has ended already, and
// the index does not know it yet, is no failure.
func eachOrganization(ctx context.Context, orgs []domain.OrgID, do func(context.Context, domain.OrgID) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(removalParallelism)
	for _, org := range orgs {
		g.Go(func() error {
			switch err := do(ctx, org); {
			case errors.Is(err, domain.ErrMemberNotFound):
				return nil
			case errors.Is(err, domain.ErrLastOwner):
				return domain.LastOwnerOf(org)
			default:
				return err
			}
		})
	}
	return g.Wait()
}
