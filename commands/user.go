package commands

import (
	"context"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// A UserResult is a user after a command. Position is their revision.
type UserResult struct {
	User     domain.User
	Position eventstore.Position
	Replayed bool
	Changed  bool
}

// onUser carries out a command on a user.
func (h *Handler) onUser(ctx context.Context, id domain.UserID, r Request, decide func(domain.User) (domain.Event, error)) (UserResult, error) {
	o, err := executeOnce(ctx, h, eventstore.UserRef(id), r, nil, decide)
	return UserResult{o.state, o.position, o.replayed, o.changed}, err
}

// loadUser is the user as the ledger has them, with the end of their history.
func (h *Handler) loadUser(ctx context.Context, id domain.UserID) (u domain.User, end eventstore.Position, err error) {
	end, err = h.ledger.Load(ctx, eventstore.UserRef(id), 0, func(r eventstore.Record) { u.Apply(r.Event) })
	return u, end, err
}

// user is the user as the ledger has them; domain.ErrUserNotFound.
func (h *Handler) user(ctx context.Context, id domain.UserID) (domain.User, error) {
	u, _, err := h.loadUser(ctx, id)
	if err == nil && u.ID == "" {
		err = domain.ErrUserNotFound
	}
	return u, err
}

// mustBeActive refuses a user without history, and one who is disabled or removed.
func (h *Handler) mustBeActive(ctx context.Context, id domain.UserID) error {
	u, err := h.user(ctx, id)
	if err == nil && u.Status() != domain.ActiveUser {
		err = domain.ErrUserRemoved
	}
	return err
}

// mayManage refuses to change a user who may do in the whole installation what the principal may not:
// with another address or password it would be that user.
func (h *Handler) mayManage(ctx context.Context, p domain.Principal, user domain.UserID) error {
	if p.User == user {
		return nil
	}
	operators, err := h.members(ctx, domain.Installation, concerned{users: []domain.UserID{user}})
	if err != nil {
		return err
	}
	return operators.MayManage(p, user)
}

// principalled is who asks, now.
func (h *Handler) principalled(p domain.Principal) domain.Principalled {
	return domain.Principalled{At: h.now(), By: p}
}
