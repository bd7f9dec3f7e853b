package commands

import (
	"context"
	"time"

	"github.com/keytrail/keytrail/domain"
)

// Settings are what a caller may say of a new key.
type Settings struct {
	Name         string             `json:"name" validate:"required,min=1,max=200,text"`
	Owner        string             `json:"owner" validate:"max=200,text"`
	Scopes       []string           `json:"scopes" validate:"max=100,unique,dive,scope"`
	ExpiresAt    time.Time          `json:"expires_at" validate:"when"`
	RateLimits   []domain.RateLimit `json:"rate_limits" validate:"max=5"`
	AllowedCIDRs []string           `json:"allowed_cidrs" validate:"max=50,dive,cidr_or_ip"`
	Metadata     map[string]string  `json:"metadata" validate:"max=50,dive,keys,min=1,max=64,metakey,endkeys,max=500,text"`
}

// valid checks what tags cannot say.
func (s *Settings) valid() error {
	if err := validLimits(s.RateLimits); err != nil {
		return err
	}
	s.AllowedCIDRs = canonical(s.AllowedCIDRs)
	s.ExpiresAt = s.ExpiresAt.UTC().Truncate(time.Millisecond)
	return nil
}

// limitBounds states a rate limit's bounds: the domain's type has no tags of ours.
type limitBounds struct {
	RateLimits []limitBound `json:"rate_limits" validate:"dive"`
}

type limitBound struct {
	Limit  int64           `json:"limit" validate:"min=1,max=1000000000"`
	Window domain.Duration `json:"window" validate:"window"`
}

func validLimits(limits []domain.RateLimit) error {
	var b limitBounds
	for _, l := range limits {
		b.RateLimits = append(b.RateLimits, limitBound(l))
	}
	if err := valid(b); err != nil {
		return err
	}
	return distinctWindows(limits)
}

// CreateKey issues a new key. TTL and ExpiresAt exclude each other.
type CreateKey struct {
	Request  `validate:"-"`
	Settings `json:""`
	Org      domain.OrgID    `json:"org_id"`
	Keyspace string          `json:"keyspace"`
	TTL      domain.Duration `json:"ttl" validate:"ttl"`
}

// CreateKey carries out c. The secret is in the first answer alone.
func (h *Handler) CreateKey(ctx context.Context, c CreateKey) (KeyResult, error) {
	if err := c.check(); err != nil {
		return KeyResult{}, err
	}
	keyspace, err := domain.KeyspaceNamed(c.Keyspace)
	if err != nil {
		return KeyResult{}, err
	}
	if err := h.mustExist(ctx, c.Org); err != nil {
		return KeyResult{}, err
	}
	secret, err := h.mint(keyspace.Format)
	if err != nil {
		return KeyResult{}, err
	}
	return h.create(ctx, c, keyspace.Format, secret)
}

func (c *CreateKey) check() error {
	c.identify()
	if c.Keyspace == "" {
		c.Keyspace = domain.DefaultKeyspace
	}
	if err := valid(c); err != nil {
		return err
	}
	if c.TTL != 0 && !c.ExpiresAt.IsZero() {
		return &domain.Error{Kind: domain.Invalid, Code: "invalid_field", Field: "ttl", Text: "give either ttl or expires_at"}
	}
	return c.Settings.valid()
}

func (h *Handler) create(ctx context.Context, c CreateKey, f domain.Format, secret domain.Secret) (KeyResult, error) {
	id := domain.NewKeyID(c.Org, c.CommandID)
	result, err := h.onKey(ctx, c.Org, id, c.Request, func(k domain.Key) (domain.Event, error) {
		at, expires := h.now(), c.ExpiresAt
		if c.TTL != 0 {
			expires = at.Add(time.Duration(c.TTL))
		}
		return k.Create(domain.CreateKey{
			ID: id, Org: c.Org, Keyspace: c.Keyspace, Name: c.Name, Owner: c.Owner, Scopes: c.Scopes, ExpiresAt: expires,
			RateLimits: c.RateLimits, AllowedCIDRs: c.AllowedCIDRs, Metadata: c.Metadata,
			Digest: secret.Digest(), Prefix: f.ShownPrefix(secret), At: at, By: c.By,
		})
	})
	return withSecret(result, secret), err
}
