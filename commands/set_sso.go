package commands

import (
	"context"
	"net/url"

	"github.com/keytrail/keytrail/domain"
)

// SetSSO gives an organization single sign-on, or another one.
type SetSSO struct {
	Request `validate:"-"`
	Org     domain.OrgID `validate:"-"`
	domain.SSODefinition
	ClientSecret *string `json:"client_secret,omitempty" validate:"omitempty,max=500,printable"` // nil: that of before, if it is the same client; "": none
}

// SetSSO carries out c.
func (h *Handler) SetSSO(ctx context.Context, c SetSSO) (SSOResult, error) {
	if err := valid(c); err != nil {
		return SSOResult{}, err
	}
	if u, _ := url.Parse(c.Issuer); h.ssoHost(u.Hostname()) != "" {
		return SSOResult{}, domain.InvalidField("issuer", "its host is %s, which single sign-on does not reach unless --sso-networks of the service has it", h.ssoHost(u.Hostname()))
	}
	return h.onSSO(ctx, c.Org, c.Request, func(s domain.SSO, m domain.Members) (domain.Event, error) {
		set := domain.SetSSO{Principalled: h.principalled(c.By), Org: c.Org, Definition: c.SSODefinition, Members: m}
		if err := h.sealClientSecret(&set, s, c.ClientSecret); err != nil {
			return nil, err
		}
		return s.Set(set)
	})
}

// sealClientSecret seals a secret that is another one. Another client, or provider, does not get that of
// the one before.
func (h *Handler) sealClientSecret(set *domain.SetSSO, before domain.SSO, given *string) error {
	known, err := h.OpenClientSecret(&before)
	same := before.SameProvider(&set.Definition)
	switch {
	case given == nil && before.HasSecret && !same:
		return domain.InvalidField("client_secret", "must be given again, or as an empty text: another client does not get the secret of the one before")
	case given == nil, err == nil && same && *given == known:
		return nil
	}
	set.HasSecret, set.Sealed = *given != "", []byte{}
	if set.HasSecret {
		set.Sealed = h.ssoKey.Seal([]byte(*given), ssoContext(set.Org, &set.Definition))
	}
	return nil
}
