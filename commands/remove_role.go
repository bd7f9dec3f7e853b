package commands

import (
	"context"

	"github.com/keytrail/keytrail/domain"
)

// RemoveRole ends a role of an organization that no member has.
type RemoveRole struct {
	Request
	Org  domain.OrgID
	Role string
}

// RemoveRole carries out c.
func (h *Handler) RemoveRole(ctx context.Context, c RemoveRole) (MembersResult, error) {
	if err := h.mustExist(ctx, c.Org); err != nil {
		return MembersResult{}, err
	}
	return h.onMembers(ctx, c.Org, c.Request, concerned{}, func(m domain.Members) (domain.Event, error) {
		return m.RemoveRole(domain.RemoveRole{Principalled: h.principalled(c.By), Role: c.Role})
	})
}
