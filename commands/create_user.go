package commands

import (
	"context"

	"github.com/keytrail/keytrail/domain"
)

// CreateUser begins a user. Two of one address at once make one.
type CreateUser struct {
	Request    `validate:"-"`
	Email      string            `json:"email" validate:"required,max=254"`
	Name       string            `json:"name,omitempty" validate:"max=200,text"`
	Password   domain.Secret     `json:"-" validate:"-"` // zero: none
	Attributes domain.Attributes `json:"attributes,omitempty" validate:"max=50,dive,keys,min=1,max=64,metakey,endkeys,max=500,text"`
	Directory  domain.OrgID      `json:"-" validate:"-"` // whose directory or provider says that the address is the user's: it is not claimed
}

// CreateUser carries out c.
func (h *Handler) CreateUser(ctx context.Context, c CreateUser) (UserResult, error) {
	c.identify()
	email, err := domain.NormalEmail(c.Email)
	if err == nil {
		err = valid(c)
	}
	if err != nil {
		return UserResult{}, err
	}
	var hash domain.PasswordHash
	if password := c.Password.Reveal(); password != "" {
		if hash, err = h.hashPassword(ctx, password, email, c.Name); err != nil {
			return UserResult{}, err
		}
	}
	id := domain.NewUserID(c.CommandID)
	decide := func(u domain.User) (domain.Event, error) {
		return u.Create(domain.CreateUser{Principalled: h.principalled(c.By), ID: id, Email: email, Directory: c.Directory, Name: c.Name, Attributes: c.Attributes, Password: hash})
	}
	if c.Directory != "" {
		return h.onUser(ctx, id, c.Request, decide)
	}
	return h.withAddress(ctx, id, c.Request, email, decide)
}
