package commands

import (
	"context"

	"github.com/keytrail/keytrail/domain"
)

// LinkIdentity lets the user who asks log in by an identity.
type LinkIdentity struct {
	Request
	Identity domain.Identity
}

// LinkIdentity carries out c. A user who is here by a provider has shown nothing to anyone but that
// provider, which could otherwise make itself a way to other organizations.
func (h *Handler) LinkIdentity(ctx context.Context, c LinkIdentity) (domain.User, error) {
	if !c.By.IsOneself(c.By.User) {
		return domain.User{}, domain.ErrSSOSession
	}
	of, found, err := h.people.Identified(c.Identity)
	if err == nil && found && of.ID != c.By.User {
		err = domain.ErrIdentityTaken
	}
	if err != nil {
		return domain.User{}, err
	}
	return h.link(ctx, domain.User{ID: c.By.User}, c.Identity, c.Request)
}
