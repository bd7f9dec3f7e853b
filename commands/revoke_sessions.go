package commands

import (
	"context"

	"github.com/keytrail/keytrail/domain"
)

// RevokeSessions ends all sessions of a user, but for one.
type RevokeSessions struct {
	Request
	User domain.UserID
	Kept domain.SessionID // "": none
}

// RevokeSessions carries out c.
func (h *Handler) RevokeSessions(ctx context.Context, c RevokeSessions) (UserResult, error) {
	return h.onUser(ctx, c.User, c.Request, func(u domain.User) (domain.Event, error) {
		return u.RevokeSessions(h.principalled(c.By), c.Kept)
	})
}
