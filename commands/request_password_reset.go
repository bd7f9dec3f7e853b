package commands

import (
	"context"
	"io"
	"time"

	"github.com/keytrail/keytrail/domain"
)

// RequestPasswordReset asks for a token with which a user can set a password once.
type RequestPasswordReset struct {
	Request
	User domain.UserID
}

// resetTTL is how long the token is good: long enough for a slow mail, and no longer, because a link in a
// mailbox is a credential.
const resetTTL = time.Hour

// A PasswordResetResult has the token in the first answer alone.
type PasswordResetResult struct {
	UserResult
	Token     domain.Secret
	ExpiresAt time.Time
}

// RequestPasswordReset carries out c. A token that the user had before is not good any more.
func (h *Handler) RequestPasswordReset(ctx context.Context, c RequestPasswordReset) (PasswordResetResult, error) {
	if err := h.mayManage(ctx, c.By, c.User); err != nil {
		return PasswordResetResult{}, err
	}
	var random [32]byte
	if _, err := io.ReadFull(h.random, random[:]); err != nil {
		return PasswordResetResult{}, err
	}
	token := domain.MintResetToken(c.User, random)
	u, err := h.onUser(ctx, c.User, c.Request, func(u domain.User) (domain.Event, error) {
		p := h.principalled(c.By)
		return u.RequestReset(p, token.Digest(), p.At.Add(resetTTL))
	})
	result := PasswordResetResult{UserResult: u}
	if r := u.User.Reset; err == nil && r != nil {
		result.ExpiresAt = r.ExpiresAt
		if r.Digest == token.Digest() {
			result.Token = token
		}
	}
	return result, err
}
