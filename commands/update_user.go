package commands

import (
	"context"

	"github.com/keytrail/keytrail/domain"
)

// UpdateUser gives a user another name, another address, or other attributes.
type UpdateUser struct {
	Request `validate:"-"`
	User    domain.UserID `validate:"-"`
	Email   *string       `json:"email,omitempty" validate:"omitnil,required,max=254"` // nil: as it is
	Name    *string       `json:"name,omitempty" validate:"omitnil,max=200,text"`      // nil: as it is
	AttributeChanges
}

// UpdateUser carries out c.
func (h *Handler) UpdateUser(ctx context.Context, c UpdateUser) (UserResult, error) {
	if err := valid(c); err != nil {
		return UserResult{}, err
	}
	if err := h.mayManage(ctx, c.By, c.User); err != nil {
		return UserResult{}, err
	}
	change := domain.UpdateUser{Name: c.Name, Attributes: c.decision()}
	decide := func(u domain.User) (domain.Event, error) {
		change.Principalled = h.principalled(c.By)
		return u.Update(change)
	}
	if c.Email == nil {
		return h.onUser(ctx, c.User, c.Request, decide)
	}
	email, err := domain.NormalEmail(*c.Email)
	if err != nil {
		return UserResult{}, err
	}
	change.Email = &email
	return h.withAddress(ctx, c.User, c.Request, email, decide)
}
