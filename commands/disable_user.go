package commands

import (
	"context"

	"github.com/keytrail/keytrail/domain"
)

// DisableUser ends all sessions of a user, and refuses their log-in and their keys until they are enabled.
type DisableUser struct {
	Request
	User domain.UserID
}

// DisableUser carries out c.
func (h *Handler) DisableUser(ctx context.Context, c DisableUser) (UserResult, error) {
	if err := h.mayManage(ctx, c.By, c.User); err != nil {
		return UserResult{}, err
	}
	return h.onUser(ctx, c.User, c.Request, func(u domain.User) (domain.Event, error) {
		return u.Disable(h.principalled(c.By))
	})
}
