package commands

import (
	"context"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// RotateSessionKeys makes the tokens of sessions be signed with a new key. Those before are good for
// Overlap; without one, every session ends.
type RotateSessionKeys struct {
	Request `validate:"-"`
	Overlap domain.Duration `json:"overlap" validate:"overlap"`
}

// A SessionKeysResult is the generations of keys after a command.
type SessionKeysResult struct {
	Keys     domain.SessionKeys
	Position eventstore.Position
	Replayed bool
}

// RotateSessionKeys carries out c.
func (h *Handler) RotateSessionKeys(ctx context.Context, c RotateSessionKeys) (SessionKeysResult, error) {
	if err := valid(c); err != nil {
		return SessionKeysResult{}, err
	}
	o, err := executeOnce(ctx, h, eventstore.SessionKeysRef(), c.Request, nil, func(k domain.SessionKeys) (domain.Event, error) {
		return k.Rotate(domain.RotateSessionKeys{Overlap: time.Duration(c.Overlap), At: h.now(), By: c.By})
	})
	return SessionKeysResult{Keys: o.state, Position: o.position, Replayed: o.replayed}, err
}
