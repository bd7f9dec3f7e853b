package commands

import (
	"context"

	"github.com/keytrail/keytrail/domain"
)

// RemoveSSO ends the single sign-on of an organization.
type RemoveSSO struct {
	Request
	Org domain.OrgID
}

// RemoveSSO carries out c. Sessions of the provider end with it.
func (h *Handler) RemoveSSO(ctx context.Context, c RemoveSSO) (SSOResult, error) {
	return h.onSSO(ctx, c.Org, c.Request, func(s domain.SSO, m domain.Members) (domain.Event, error) {
		return s.Remove(domain.RemoveSSO{Principalled: h.principalled(c.By), Org: c.Org, Members: m})
	})
}
