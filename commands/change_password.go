package commands

import (
	"context"
	"errors"
	"net/netip"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/internal/password"
)

// ChangePassword gives the user who asks another password, by the one that they have.
type ChangePassword struct {
	Request
	Present domain.Secret
	New     domain.Secret
	IP      netip.Addr
}

// ChangePassword carries out c. It ends the user's sessions but for the one that asks. A caller that took
// a session and guesses at the password has the back-off of log-ins.
func (h *Handler) ChangePassword(ctx context.Context, c ChangePassword) (UserResult, error) {
	if c.By.User == "" {
		return UserResult{}, domain.ErrUserNotFound
	}
	if !c.By.IsOneself(c.By.User) { // before the password, at which a provider is not to guess
		return UserResult{}, domain.ErrSSOSession
	}
	u, err := h.user(ctx, c.By.User)
	if err != nil {
		return UserResult{}, err
	}
	if err := h.recognise(ctx, u, string(u.ID), LogIn{Password: c.Present, IP: c.IP, Correlation: c.Correlation}); err != nil {
		if errors.Is(err, domain.ErrLogInFailed) {
			err = domain.ErrWrongPassword
		}
		return UserResult{}, err
	}
	hash, err := h.hashPasswordOf(ctx, password.Client{Class: password.Known, Address: c.IP}, c.New, u)
	if err != nil {
		return UserResult{}, err
	}
	return h.onUser(ctx, u.ID, c.Request, func(now domain.User) (domain.Event, error) {
		return now.ChangePassword(domain.ChangePassword{Principalled: h.principalled(c.By), Hash: hash, Former: u.Password, Kept: c.By.Session})
	})
}
