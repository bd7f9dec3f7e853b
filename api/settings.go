package api

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keytrail/keytrail/domain"
)

// newKey is the body that creates a key.
type newKey struct {
	Org         string `json:"org_id,omitempty" nullable:"true" doc:"The organization; a caller bound to one may leave it out."`
	Keyspace    string `json:"keyspace,omitempty" doc:"Left out: default. keytrail is that of management keys."`
	Environment string `json:"environment,omitempty" doc:"Of the keyspace, if that has some; left out: its first."`
	domain.Settings
	TTL domain.Duration `json:"ttl,omitempty" doc:"Instead of expires_at: how long the key is good, like 24h."`
}

// TransformSchema states the bounds of the settings.
func (newKey) TransformSchema(r huma.Registry, s *huma.Schema) *huma.Schema {
	return bounded[domain.Settings](r, s)
}

// keyChanges is the body that updates a key.
type keyChanges struct{ domain.Changes }

// TransformSchema states the bounds of the settings, and which one may be null.
func (keyChanges) TransformSchema(r huma.Registry, s *huma.Schema) *huma.Schema {
	expiry := s.Properties["expires_at"]
	expiry.Nullable, expiry.Description = true, "null: the key does not expire."
	return bounded[domain.Settings](r, s)
}

// mergeNulls reads what decoding cannot tell from an absent member: a null, which takes an
// expiry away and would mean nothing for all else.
func (c *keyChanges) mergeNulls(ctx context.Context) error {
	nulls, err := nullMembers(ctx)
	if nulls["expires_at"] {
		c.ExpiresAt = &time.Time{}
		delete(nulls, "expires_at")
	}
	return errors.Join(err, refuseNulls(nulls))
}

// noNulls refuses a body with a member that is null.
func noNulls(ctx context.Context) error {
	nulls, err := nullMembers(ctx)
	return errors.Join(err, refuseNulls(nulls))
}

func refuseNulls(names map[string]bool) error {
	for name := range names {
		return domain.InvalidField(clip(name), "must not be null; leave it out to keep it as it is")
	}
	return nil
}

// nullMembers are the names of the body's members that are null.
func nullMembers(ctx context.Context) (map[string]bool, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(bodyOf(ctx), &members); err != nil {
		return nil, domain.InvalidField("body", "must be a JSON object")
	}
	nulls := map[string]bool{}
	for name, value := range members {
		if string(value) == "null" {
			nulls[name] = true
		}
	}
	return nulls, nil
}
