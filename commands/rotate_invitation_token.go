package commands

import (
	"context"

	"github.com/keytrail/keytrail/domain"
)

// RotateInvitationToken makes a token of an invitation, in place of the one that it had.
type RotateInvitationToken struct {
	Request
	Org        domain.OrgID
	Invitation domain.InvitationID
}

// RotateInvitationToken carries out c. The token is in the first answer alone.
func (h *Handler) RotateInvitationToken(ctx context.Context, c RotateInvitationToken) (InvitationResult, error) {
	if err := h.mustExist(ctx, c.Org); err != nil {
		return InvitationResult{}, err
	}
	token, err := h.mintInvitation(c.Org, c.Invitation)
	if err != nil {
		return InvitationResult{}, err
	}
	r, err := h.onMembers(ctx, c.Org, c.Request, concerned{invitation: c.Invitation}, func(m domain.Members) (domain.Event, error) {
		return m.RotateToken(domain.RotateInvitationToken{Principalled: h.principalled(c.By), ID: c.Invitation, Digest: token.Digest()})
	})
	return invitationResult(r, c.Invitation, token), err
}
