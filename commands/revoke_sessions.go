package commands

import (
	"context"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// RevokeSessions ends all sessions of a user, but for one. A user who came by an organization's
// provider ends those in the organization.
type RevokeSessions struct {
	Request
	User domain.UserID
	Kept domain.SessionID // "": none
}

// RevokeSessions carries out c.
func (h *Handler) RevokeSessions(ctx context.Context, c RevokeSessions) (eventstore.Position, error) {
	if c.By.Issuer != "" {
		return h.revokeSessionsIn(ctx, c)
	}
	r, err := h.onUser(ctx, c.User, c.Request, func(u domain.User) (domain.Event, error) {
		return u.RevokeSessions(h.principalled(c.By), c.Kept)
	})
	return r.Position, err
}

// revokeSessionsIn ends each session in the organization of who asks. There are a hundred at most, and
// ending one again is no news: after a crash the same request ends the others.
func (h *Handler) revokeSessionsIn(ctx context.Context, c RevokeSessions) (last eventstore.Position, err error) {
	all, _, err := h.people.SessionsOf(c.By.Org, c.User)
	for _, x := range all.Live {
		if err != nil || x.ID == c.Kept {
			continue
		}
		var at eventstore.Position
		at, err = h.EndSession(ctx, EndSession{Request: c.step(), Session: x, Reason: domain.SessionRevoked})
		last = max(last, at)
	}
	return last, err
}
