package commands

import (
	"context"
	"time"

	"github.com/keytrail/keytrail/domain"
)

// UpdateKey changes fields of a key; those that are nil stay as they are.
type UpdateKey struct {
	Request
	Org domain.OrgID
	Key domain.KeyID
	domain.Changes
}

// bounds states what the changed fields may hold: the same as a new key's.
type bounds struct {
	Name         *string             `json:"name" validate:"omitnil,min=1,max=200,text"`
	Owner        *string             `json:"owner" validate:"omitnil,max=200,text"`
	Scopes       *[]string           `json:"scopes" validate:"omitnil,max=100,unique,dive,scope"`
	ExpiresAt    *time.Time          `json:"expires_at" validate:"omitnil,when"`
	NoExpiry     bool                `json:"-" validate:"-"`
	RateLimits   *[]domain.RateLimit `json:"rate_limits" validate:"omitnil,max=5"`
	AllowedCIDRs *[]string           `json:"allowed_cidrs" validate:"omitnil,max=50,dive,cidr_or_ip"`
	Metadata     *map[string]string  `json:"metadata" validate:"omitnil,max=50,dive,keys,min=1,max=64,metakey,endkeys,max=500,text"`
}

// UpdateKey carries out c.
func (h *Handler) UpdateKey(ctx context.Context, c UpdateKey) (KeyResult, error) {
	c.identify()
	if err := c.check(); err != nil {
		return KeyResult{}, err
	}
	return h.onKey(ctx, c.Org, c.Key, c.Request, func(k domain.Key) (domain.Event, error) {
		return k.Update(domain.UpdateKey{Changes: c.Changes, At: h.now(), By: c.By})
	})
}

func (c *UpdateKey) check() error {
	if err := valid(bounds(c.Changes)); err != nil {
		return err
	}
	if c.RateLimits != nil {
		if err := validLimits(*c.RateLimits); err != nil {
			return err
		}
	}
	if c.AllowedCIDRs != nil {
		cidrs := canonical(*c.AllowedCIDRs)
		c.AllowedCIDRs = &cidrs
	}
	if c.ExpiresAt != nil {
		at := c.ExpiresAt.UTC().Truncate(time.Millisecond)
		c.ExpiresAt = &at
	}
	return nil
}
