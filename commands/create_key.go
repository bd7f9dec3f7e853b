package commands

import (
	"context"

	"github.com/keytrail/keytrail/domain"
)

// CreateKey issues a new key. TTL and ExpiresAt exclude each other.
type CreateKey struct {
	Request `validate:"-"`
	domain.Settings
	Org         domain.OrgID    `json:"org_id"`
	Keyspace    string          `json:"keyspace"`
	Environment string          `json:"environment"` // "": the keyspace's first
	TTL         domain.Duration `json:"ttl" validate:"ttl"`
}

// CreateKey carries out c. The secret is in the first answer alone.
func (h *Handler) CreateKey(ctx context.Context, c CreateKey) (KeyResult, error) {
	if err := c.check(); err != nil {
		return KeyResult{}, err
	}
	keyspace, err := h.newKeysIn(c.Keyspace)
	if err != nil {
		return KeyResult{}, err
	}
	shape, err := keyspace.Shape(c.Environment)
	if err != nil {
		return KeyResult{}, err
	}
	if err := h.mustExist(ctx, c.Org); err != nil {
		return KeyResult{}, err
	}
	secret, err := h.mint(shape)
	if err != nil {
		return KeyResult{}, err
	}
	return h.create(ctx, c, keyspace, shape, secret)
}

func (c *CreateKey) check() error {
	c.identify()
	if c.Keyspace == "" {
		c.Keyspace = domain.DefaultKeyspace
	}
	normalize(&c.Settings)
	if err := valid(c); err != nil {
		return err
	}
	if c.TTL != 0 && !c.ExpiresAt.IsZero() {
		return domain.InvalidField("ttl", "give either ttl or expires_at")
	}
	return nil
}

func (h *Handler) create(ctx context.Context, c CreateKey, keyspace *domain.Keyspace, shape domain.Shape, secret domain.Secret) (KeyResult, error) {
	var sealed sealedSecret
	var sealedFor domain.KeyID
	n := newKey{Request: c.Request, org: c.Org, keyspace: keyspace, owner: c.Owner, id: domain.NewKeyID(c.Org, c.CommandID)}
	n.decide = func(k domain.Key, id domain.KeyID) (domain.Event, error) {
		return k.Create(domain.CreateKey{ID: id, Org: c.Org, Keyspace: c.Keyspace, Environment: shape.Environment, Policy: keyspace.KeyspaceDefinition, Plan: h.plans.Plan(c.Org),
			Settings: c.Settings, TTL: c.TTL, Digest: secret.Digest(), Prefix: shape.DisplayPrefix(secret), At: h.now(), By: c.By})
	}
	n.finish = func(event domain.Event, id domain.KeyID) (domain.Event, error) {
		if !h.recoverable(c.Keyspace) {
			return event, nil
		}
		if sealedFor != id {
			sealed, sealedFor = nil, id
		}
		return sealed.into(ctx, h, event, c.Org, id, secret)
	}
	create := h.createWithin
	if keyspace.Bounds.OneKeyPerOwner {
		create = h.createOnly
	}
	result, err := create(ctx, n)
	return withSecret(result, secret), err
}
