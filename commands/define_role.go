package commands

import (
	"context"
	"slices"

	"github.com/keytrail/keytrail/domain"
)

// DefineRole gives an organization a role of its own, or a role other scopes.
type DefineRole struct {
	Request `validate:"-"`
	Org     domain.OrgID `validate:"-"`
	Role    string       `json:"role" validate:"required,max=64,role_name"`
	Scopes  []string     `json:"scopes" validate:"max=100,unique,dive,scope"`
}

// DefineRole carries out c.
func (h *Handler) DefineRole(ctx context.Context, c DefineRole) (MembersResult, error) {
	if err := valid(c); err != nil {
		return MembersResult{}, err
	}
	if err := h.mustExist(ctx, c.Org); err != nil {
		return MembersResult{}, err
	}
	scopes := slices.Sorted(slices.Values(c.Scopes))
	return h.onMembers(ctx, c.Org, c.Request, concerned{}, func(m domain.Members) (domain.Event, error) {
		return m.DefineRole(domain.DefineRole{Principalled: h.principalled(c.By), Role: c.Role, Scopes: scopes})
	})
}
