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

// user is the user as the ledger has them; domain.ErrUserNotFound.
func (h *Handler) user(ctx context.Context, id domain.UserID) (u domain.User, err error) {
	end, err := h.ledger.Load(ctx, eventstore.UserRef(id), 0, func(r eventstore.Record) { u.Apply(r.Event) })
	if err == nil && end == 0 {
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

// principalled is who asks, now.
func (h *Handler) principalled(p domain.Principal) domain.Principalled {
	return domain.Principalled{At: h.now(), By: p}
}
