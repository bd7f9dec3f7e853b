package commands

import (
	"context"

	"github.com/keytrail/keytrail/domain"
)

// RemoveMember ends a membership, and with it what the user's sessions and keys may do in the organization.
type RemoveMember struct {
	Request
	Org    domain.OrgID
	User   domain.UserID
	Reason domain.RemovalReason // "": removed or left, as it is
}

// RemoveMember carries out c.
func (h *Handler) RemoveMember(ctx context.Context, c RemoveMember) (MembersResult, error) {
	if err := h.mustExist(ctx, c.Org); err != nil {
		return MembersResult{}, err
	}
	return h.onMembers(ctx, c.Org, c.Request, concerned{users: []domain.UserID{c.User}}, func(m domain.Members) (domain.Event, error) {
		return m.Remove(domain.RemoveMember{Principalled: h.principalled(c.By), User: c.User, Reason: c.Reason})
	})
}
