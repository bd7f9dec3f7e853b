package commands

import (
	"context"
	"errors"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
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
	decide := func(k domain.Key) (domain.Event, error) {
		policy, err := h.policyOf(k)
		if err != nil {
			return nil, err
		}
		return k.Update(domain.UpdateKey{Changes: c.Changes, Policy: policy, Plan: h.plans.Plan(k.Org), At: h.now(), By: c.By})
	}
	if c.Owner != nil {
		return h.changeOwner(ctx, c, decide)
	}
	return h.onKey(ctx, c.Org, c.Key, c.Request, decide)
}

// changeOwner is UpdateKey with another owner. If the keyspace bounds the keys of each, the key
// first takes a place among those of the new one.
func (h *Handler) changeOwner(ctx context.Context, c UpdateKey, decide func(domain.Key) (domain.Event, error)) (KeyResult, error) {
	ctx, cancel := context.WithTimeout(ctx, eventstore.Deadline)
	defer cancel()
	for {
		k, at, err := h.loadKey(ctx, c.Org, c.Key)
		if err != nil {
			return KeyResult{}, err
		}
		_, refused := decide(k)
		from, to, moves := h.ownersQuotas(k, *c.Owner)
		r := c.Request
		if r.IfMatch == 0 {
			r.IfMatch = at // which the place is taken for
		}
		switch {
		case refused != nil:
		case r.IfMatch != at:
			refused = domain.ErrRevisionStale
		case moves:
			refused = h.reserve(ctx, c.Org, c.Key, at, c.By, []domain.QuotaLimit{to})
		}
		result, err := h.onKey(ctx, c.Org, c.Key, r, func(k domain.Key) (domain.Event, error) {
			if refused != nil {
				return nil, refused
			}
			return decide(k)
		})
		if errors.Is(err, domain.ErrRevisionStale) && c.IfMatch == 0 && ctx.Err() == nil {
			continue // it was changed meanwhile
		}
		if moves && (err == nil || isRefusal(err)) {
			h.giveBackUnneeded(ctx, c.Org, c.Key, []domain.QuotaLimit{from, to})
		}
		return result, err
	}
}

// ownersQuotas are those of a key's owner and of another one, if it is to move between them.
func (h *Handler) ownersQuotas(k domain.Key, owner string) (from, to domain.QuotaLimit, moves bool) {
	keyspace, err := h.keyspaces.Keyspaces().Named(k.Keyspace)
	if err != nil || k.State == domain.Absent || k.Owner == owner || keyspace.Bounds.KeysPerOwner == 0 {
		return from, to, false
	}
	return keyspace.Quotas(k.Owner)[0], keyspace.Quotas(owner)[0], true
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
