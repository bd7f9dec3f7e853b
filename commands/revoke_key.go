package commands

import (
	"context"

	"github.com/keytrail/keytrail/domain"
)

// RevokeKey ends a key for good.
type RevokeKey struct {
	Request `validate:"-"`
	Org     domain.OrgID  `validate:"-"`
	Key     domain.KeyID  `validate:"-"`
	Reason  domain.Reason `json:"reason" validate:"reason"` // "": unspecified
	Comment string        `json:"comment" validate:"max=500,text"`
}

// RevokeKey carries out c.
func (h *Handler) RevokeKey(ctx context.Context, c RevokeKey) (KeyResult, error) {
	if c.Reason == "" {
		c.Reason = domain.Unspecified
	}
	if err := valid(c); err != nil {
		return KeyResult{}, err
	}
	decide := func(k domain.Key) (domain.Event, error) {
		return k.Revoke(domain.RevokeKey{Reason: c.Reason, Comment: c.Comment, At: h.now(), By: c.By})
	}
	var assumed *assumption[domain.Key]
	if c.Fingerprint == "" && c.IfMatch == 0 { // else the history tells whether the request was carried out, or is stale
		k, at, found := h.knownKey(c.Org, c.Key)
		if event, err := decide(k); found && event == nil && err == nil {
			return KeyResult{Key: k, Position: at}, nil // revoked, which is final
		}
		if found {
			assumed = &assumption[domain.Key]{state: k, position: at}
		}
	}
	result, err := h.onAssumedKey(ctx, c.Org, c.Key, c.Request, assumed, decide)
	if err == nil && len(result.Key.Secrets[0].Sealed) > 0 {
		h.destroyDataKey(ctx, result.Key, result.Key.Secrets[0])
	}
	return result, err
}
