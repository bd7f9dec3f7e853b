package commands

import (
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

// SwitchSession carries out c. The present session ends first, which of several switches at once one
// alone does, and the new one lives no longer than it would have. After a crash between the two, or a
// lost answer, the user logs in again.
//
// No end of the present session is escaped by a switch at the same moment: what ended it is found
// by ending it, and what ends all of the user's sessions is news of c.User, see BeginSession.
func (h *Handler) SwitchSession(ctx context.Context, c SwitchSession) (s BegunSession, err error) {
	switches, err := c.Present.Switch(h.now())
	if err != nil {
		return s, err
	}
	ended, err := h.endSession(ctx, EndSession{Request: c.Request, Session: c.Present, Reason: domain.SessionSwitched})
	if err == nil && (!ended.changed || ended.replayed) {
		err = domain.ErrInvalidCredentials
	}
	if err != nil {
		return s, err
	}
	return h.BeginSession(ctx, BeginSession{User: c.User, Org: c.Org, Method: c.Present.Method, Issuer: c.Present.Issuer, Client: c.Client, IP: c.IP, UserAgent: c.Present.UserAgent,
		Correlation: c.Correlation, expiresAt: c.Present.ExpiresAt, switched: c.Present.ID, switches: switches})
}
