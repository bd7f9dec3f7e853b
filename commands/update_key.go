package commands

import (
	"context"

	"github.com/keytrail/keytrail/domain"
)

// UpdateKey changes settings of a key; those that are nil stay as they are.
type UpdateKey struct {
	Request
	Org domain.OrgID
	Key domain.KeyID
	domain.Changes
}

// UpdateKey carries out c.
func (h *Handler) UpdateKey(ctx context.Context, c UpdateKey) (KeyResult, error) {
	if err := c.check(); err != nil {
		return KeyResult{}, err
	}
	return h.onKey(ctx, c.Org, c.Key, c.Request, func(k domain.Key) (domain.Event, error) {
		policy, err := h.policyOf(k)
		if err != nil {
			return nil, err
		}
		return k.Update(domain.UpdateKey{Changes: c.Changes, Policy: policy, At: h.now(), By: c.By})
	})
}

// policyOf is what the keyspace of a key says; of one without history: nothing.
func (h *Handler) policyOf(k domain.Key) (domain.KeyspaceDefinition, error) {
	if k.State == domain.Absent {
		return domain.KeyspaceDefinition{}, nil
	}
	keyspace, err := h.keyspaces.Keyspaces().Named(k.Keyspace)
	if err != nil {
		return domain.KeyspaceDefinition{}, err
	}
	return keyspace.KeyspaceDefinition, nil
}

// check holds the changes to the bounds of a new key's settings, by merging them into some
// that are within them.
func (c *UpdateKey) check() error {
	if c.ExpiresAt != nil {
		at := canonicalTime(*c.ExpiresAt)
		c.ExpiresAt = &at
	}
	if c.AllowedCIDRs != nil {
		cidrs := canonicalCIDRs(*c.AllowedCIDRs)
		c.AllowedCIDRs = &cidrs
	}
	merged := domain.Settings{Name: "name"}
	merged.Merge(c.Changes)
	return valid(merged)
}
