package commands

import (
	"context"

	"github.com/keytrail/keytrail/domain"
)

// EnableUser lets a disabled user log in again.
type EnableUser struct {
	Request
	User domain.UserID
}

// EnableUser carries out c.
func (h *Handler) EnableUser(ctx context.Context, c EnableUser) (UserResult, error) {
	if err := h.mayManage(ctx, c.By, c.User); err != nil {
		return UserResult{}, err
	}
	return h.onUser(ctx, c.User, c.Request, func(u domain.User) (domain.Event, error) {
		return u.Enable(h.principalled(c.By))
	})
}
