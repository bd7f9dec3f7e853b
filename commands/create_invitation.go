package commands

import (
	"cmp"
	"context"
	"io"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// CreateInvitation invites an address to become a member.
type CreateInvitation struct {
	Request `validate:"-"`
	Org     domain.OrgID    `validate:"-"`
	Email   string          `json:"email" validate:"required,max=254"`
	Role    string          `json:"role" validate:"required,max=64,role_name"`
	TTL     domain.Duration `json:"ttl,omitempty" validate:"invitation_ttl"` // 0: invitationTTL
}

// How long an invitation is good.
const (
	invitationTTL    = 7 * 24 * time.Hour  // unless it says so; a week of holidays is no reason to ask again
	maxInvitationTTL = 30 * 24 * time.Hour // a link in a mailbox is a credential, and must not stay one
)

// An InvitationResult is an invitation after a command.
type InvitationResult struct {
	Invitation domain.Invitation
	Position   eventstore.Position // the revision of the organization's members
	Token      domain.Secret       // only where one was made, and only the first time
	Replayed   bool
}

// CreateInvitation carries out c. Its token is for a principal that could create the user as well, which
// sends it to the address; for all others there is none yet, see domain.Members.RotateToken.
func (h *Handler) CreateInvitation(ctx context.Context, c CreateInvitation) (InvitationResult, error) {
	c.identify()
	email, err := domain.NormalEmail(c.Email)
	if err == nil {
		err = valid(c)
	}
	if err == nil {
		err = h.mustExist(ctx, c.Org)
	}
	if err != nil {
		return InvitationResult{}, err
	}
	id := domain.NewInvitationID(c.Org, c.CommandID)
	var token domain.Secret
	var digest domain.Digest
	if c.By.Org == domain.Installation && c.By.Demand(domain.UsersWriteScope) == nil {
		if token, err = h.mintInvitation(c.Org, id); err != nil {
			return InvitationResult{}, err
		}
		digest = token.Digest()
	}
	r, err := h.onMembers(ctx, c.Org, c.Request, concerned{invitation: id}, func(m domain.Members) (domain.Event, error) {
		p := h.principalled(c.By)
		return m.Invite(domain.CreateInvitation{Principalled: p, ID: id, Email: email, Role: c.Role, Digest: digest,
			ExpiresAt: p.At.Add(cmp.Or(time.Duration(c.TTL), invitationTTL))})
	})
	return invitationResult(r, id, token), err
}

// mintInvitation makes a token of an invitation.
func (h *Handler) mintInvitation(org domain.OrgID, id domain.InvitationID) (domain.Secret, error) {
	var random [32]byte
	_, err := io.ReadFull(h.random, random[:])
	return domain.MintInvitationToken(org, id, random), err
}

// invitationResult has the token if it is the invitation's.
func invitationResult(r MembersResult, id domain.InvitationID, token domain.Secret) InvitationResult {
	result := InvitationResult{Invitation: r.Members.Invitations[id], Position: r.Position, Replayed: r.Replayed}
	if !result.Replayed && result.Invitation.Digest == token.Digest() {
		result.Token = token
	}
	return result
}
