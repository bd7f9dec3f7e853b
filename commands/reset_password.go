package commands

import (
	"context"
	"net/netip"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/internal/password"
)

// ResetPassword sets a user's password by the token of a reset.
type ResetPassword struct {
	Correlation string
	Token       domain.Secret
	Password    domain.Secret
	IP          netip.Addr // from where the user can log in then, whatever others have tried
}

// ResetPassword carries out c. The token is looked at before the password is hashed: guessing at it
// costs the service next to nothing.
func (h *Handler) ResetPassword(ctx context.Context, c ResetPassword) (UserResult, error) {
	id, err := domain.ParseResetToken(c.Token)
	if err != nil {
		return UserResult{}, err
	}
	digest := c.Token.Digest()
	u, err := h.user(ctx, id)
	if err != nil {
		return UserResult{}, hideUser(err)
	}
	change := domain.ChangePassword{Principalled: domain.Principalled{At: h.now()}, Reset: &digest, IP: domain.LogInAddress(c.IP)}
	if _, err := u.ChangePassword(change); err != nil {
		return UserResult{}, err
	}
	if change.Hash, err = h.hashPasswordOf(ctx, password.Client{Address: c.IP}, c.Password, u); err != nil {
		return UserResult{}, err
	}
	r := Request{By: domain.Principal{ID: string(id), User: id}, Correlation: c.Correlation}
	return h.onUser(ctx, id, r, func(u domain.User) (domain.Event, error) { return u.ChangePassword(change) })
}

// hideUser makes a token of no user one that is not valid.
func hideUser(err error) error {
	if err == domain.ErrUserNotFound {
		return domain.ErrResetInvalid
	}
	return err
}
