package commands

import (
	"context"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// An SSOResult is an organization's single sign-on after a command. Position is its revision.
type SSOResult struct {
	SSO      domain.SSO
	Position eventstore.Position
	Replayed bool
	Created  bool // the event, of this call, began it
}

// onSSO carries out a command on the single sign-on of an organization.
func (h *Handler) onSSO(ctx context.Context, org domain.OrgID, r Request, decide func(domain.SSO, domain.Members) (domain.Event, error)) (SSOResult, error) {
	if err := h.mustExist(ctx, org); err != nil {
		return SSOResult{}, err
	}
	members := domain.Members{Org: org}
	if h.people != nil {
		var err error
		if members, _, err = h.people.MembersOf(org, nil, ""); err != nil {
			return SSOResult{}, err
		}
	}
	created := false
	r.Fingerprint = h.keyedFingerprint(r.Fingerprint)
	o, err := executeOnce(ctx, h, eventstore.SSORef(org), r, nil, func(s domain.SSO) (domain.Event, error) {
		s.Org = org
		event, err := decide(s, members)
		_, created = event.(domain.SSOConfigured)
		return event, err
	})
	o.state.Org = org
	return SSOResult{SSO: o.state, Position: o.position, Replayed: o.replayed, Created: created}, err
}

// ssoContext is the additional data of a sealed client secret. It goes to that client of that
// provider alone. Neither has spaces.
func ssoContext(org domain.OrgID, d *domain.SSODefinition) []byte {
	return []byte("keytrail sso client secret 1 " + string(org) + " " + d.Issuer + " " + d.ClientID)
}

// OpenClientSecret is the client secret of an organization's single sign-on, "" if it has none;
// domain.ErrSSOSealed if another keyring has sealed it.
func (h *Handler) OpenClientSecret(s *domain.SSO) (string, error) {
	if !s.HasSecret {
		return "", nil
	}
	secret, err := h.ssoKey.Open(s.Sealed, ssoContext(s.Org, &s.SSODefinition))
	if err != nil {
		return "", domain.ErrSSOSealed
	}
	return string(secret), nil
}
