package commands

import (
	"context"

	"github.com/keytrail/keytrail/domain"
)

// ResetRootKey revokes the root key and makes another one, for an operator whose root key is
// lost or has leaked. Its steps can be cut off anywhere and repeated:
//
//  1. keep stores the new secret. If it fails, nothing has happened. After a crash here the
//     old root key is still valid, and its secret is where keep put it aside.
//  2. The old root key is revoked. After a crash here there is none; the next start, or a
//     repeated reset, makes one.
//  3. The new one is created. created is false if another process was quicker.
func (h *Handler) ResetRootKey(ctx context.Context, keep func(domain.Secret) error) (created bool, err error) {
	n, old, err := h.rootKey(ctx)
	if err != nil {
		return false, err
	}
	secret, err := h.mintRootSecret(keep)
	if err != nil {
		return false, err
	}
	if old.State != domain.Absent {
		if _, err := h.RevokeKey(ctx, RevokeKey{Request: Request{By: domain.System}, Org: domain.Installation, Key: old.ID,
			Reason: domain.Superseded, Comment: "root key reset"}); err != nil {
			return false, err
		}
		n++
	}
	return h.createRootKey(ctx, n, secret)
}
