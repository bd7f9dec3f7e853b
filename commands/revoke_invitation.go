package commands

import (
	"context"

	"github.com/keytrail/keytrail/domain"
)

// RevokeInvitation takes an invitation back.
type RevokeInvitation struct {
	Request
	Org        domain.OrgID
	Invitation domain.InvitationID
}

// RevokeInvitation carries out c.
func (h *Handler) RevokeInvitation(ctx context.Context, c RevokeInvitation) (MembersResult, error) {
	if err := h.mustExist(ctx, c.Org); err != nil {
		return MembersResult{}, err
	}
	return h.onMembers(ctx, c.Org, c.Request, concerned{invitation: c.Invitation}, func(m domain.Members) (domain.Event, error) {
		return m.RevokeInvitation(domain.RevokeInvitation{Principalled: h.principalled(c.By), ID: c.Invitation})
	})
}
