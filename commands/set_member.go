package commands

import (
	"context"

	"github.com/keytrail/keytrail/domain"
)

// SetMember makes a user a member of an organization, or gives a member another role.
type SetMember struct {
	Request   `validate:"-"`
	Org       domain.OrgID  `validate:"-"`
	User      domain.UserID `validate:"-"`
	Role      string        `json:"role" validate:"required,max=64,role_name"`
	Directory string        `validate:"-"` // the id that the organization's directory has for the user
	Asserted  bool          `validate:"-"` // the organization's own provider or directory says so
}

// SetMember carries out c.
func (h *Handler) SetMember(ctx context.Context, c SetMember) (MembersResult, error) {
	if err := valid(c); err != nil {
		return MembersResult{}, err
	}
	if err := h.mustExist(ctx, c.Org); err != nil {
		return MembersResult{}, err
	}
	return h.onMembers(ctx, c.Org, c.Request, concerned{users: []domain.UserID{c.User}}, func(m domain.Members) (domain.Event, error) {
		event, err := m.Set(domain.SetMember{Principalled: h.principalled(c.By), User: c.User, Role: c.Role, Directory: c.Directory, Asserted: c.Asserted})
		if _, joins := event.(domain.MembershipCreated); joins { // asked last: who may not add users learns nothing of them
			err = h.mayBeMember(ctx, c.User)
		}
		return event, err
	})
}

// mayBeMember refuses a user who cannot become a member anywhere.
func (h *Handler) mayBeMember(ctx context.Context, user domain.UserID) error {
	if err := h.mustBeActive(ctx, user); err != nil {
		return err
	}
	return h.mayJoin(user)
}
