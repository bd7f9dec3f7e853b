package commands

import (
	"cmp"
	"context"

	"github.com/keytrail/keytrail/domain"
)

// SwitchSession gives a user a session in another organization instead of the present one.
type SwitchSession struct {
	Request
	User    domain.User // as it was when the present session was good, or before
	Present domain.Session
	Org     domain.OrgID
	Client  string // of the provider by which the present one is; "": it is by none
	IP      string
}

// SwitchSession carries out c. The new session begins before the present one ends: after a crash
// between the two, or a lost answer of the first, the user has the present one still and switches
// again. It lives no longer than the present one would have.
//
// No end of the present session is escaped by a switch at the same moment. What ends all of the user's
// sessions is news of c.User, and refused by BeginSession; if the present one has ended by itself, so does the new one.
func (h *Handler) SwitchSession(ctx context.Context, c SwitchSession) (s BegunSession, err error) {
	s, err = h.BeginSession(ctx, BeginSession{User: c.User, Org: c.Org, Method: c.Present.Method, Issuer: c.Present.Issuer, Client: c.Client, IP: c.IP, UserAgent: c.Present.UserAgent,
		Correlation: c.Correlation, expiresAt: c.Present.ExpiresAt, switched: c.Present.ID})
	if err != nil {
		return s, err
	}
	ended, err := h.endSession(ctx, EndSession{Request: c.Request, Session: c.Present, Reason: domain.SessionSwitched})
	if err == nil && !ended.changed {
		_, err = h.EndSession(ctx, EndSession{Request: Request{By: domain.System, Correlation: c.Correlation}, Session: s.Session, Reason: domain.SessionRevoked})
		return BegunSession{}, cmp.Or(err, error(domain.ErrInvalidCredentials))
	}
	s.Position = max(s.Position, ended.position)
	return s, err
}
