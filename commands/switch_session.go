package commands

import (
	"context"

	"github.com/keytrail/keytrail/domain"
)

// SwitchSession gives a user a session in another organization instead of the present one.
type SwitchSession struct {
	Request
	Present domain.Session
	Org     domain.OrgID
	Client  string // of the provider by which the present one is; "": it is by none
	IP      string
}

// SwitchSession carries out c. The new session begins before the present one ends: after a crash
// between the two, or a lost answer of the first, the user has the present one still and switches
// again. It lives no longer than the present one would have.
func (h *Handler) SwitchSession(ctx context.Context, c SwitchSession) (s BegunSession, err error) {
	u, err := h.user(ctx, c.Present.User)
	if err != nil {
		return s, err
	}
	s, err = h.BeginSession(ctx, BeginSession{User: u, Org: c.Org, Method: c.Present.Method, Issuer: c.Present.Issuer, Client: c.Client, IP: c.IP, UserAgent: c.Present.UserAgent,
		Correlation: c.Correlation, expiresAt: c.Present.ExpiresAt, switched: c.Present.ID})
	if err != nil {
		return s, err
	}
	ended, err := h.EndSession(ctx, EndSession{Request: c.Request, Session: c.Present, Reason: domain.SessionSwitched})
	s.Position = max(s.Position, ended)
	return s, err
}
