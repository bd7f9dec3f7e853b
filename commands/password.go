package commands

import (
	"context"
	"errors"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/internal/password"
)

// hashPassword is the PHC string of a password that a user is to have, of whom about says the e-mail
// address and the name; or why the user may not have it. It waits for its turn in the pool.
func (h *Handler) hashPassword(ctx context.Context, text string, about ...string) (domain.PasswordHash, error) {
	return h.hashFor(ctx, password.Client{Class: password.Known}, text, about...)
}

// hashPasswordOf is hashPassword for a user who sets it.
func (h *Handler) hashPasswordOf(ctx context.Context, c password.Client, text domain.Secret, u domain.User) (domain.PasswordHash, error) {
	return h.hashFor(ctx, c, text.Reveal(), u.Email, u.Name)
}

func (h *Handler) hashFor(ctx context.Context, c password.Client, text string, about ...string) (domain.PasswordHash, error) {
	if err := password.Check(text, about...); err != nil {
		return "", domain.InvalidField("password", "%s", err)
	}
	phc, err := h.passwords.Hash(ctx, c, text)
	return domain.PasswordHash(phc), busyPool(err)
}

// busyPool is the refusal for the pool's error.
func busyPool(err error) error {
	if errors.Is(err, password.ErrBusy) {
		return domain.ErrTooManyPasswords
	}
	return err
}
