package api

import (
	"context"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keytrail/keytrail/domain"
)

// newKey is the body that creates a key.
type newKey struct {
	Org      string `json:"org_id,omitempty" nullable:"true" doc:"The organization; a caller bound to one may leave it out."`
	Keyspace string `json:"keyspace,omitempty" doc:"default, or keytrail for a management key."`
	domain.Settings
	TTL domain.Duration `json:"ttl,omitempty" doc:"Instead of expires_at: how long the key is good, like 24h."`
}

// TransformSchema states the bounds of the settings.
func (newKey) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema { return bounded(s) }

// keyChanges is the body that updates a key.
type keyChanges struct{ domain.Changes }

// TransformSchema states the bounds of the settings, and which one may be null.
func (keyChanges) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	expiry := s.Properties["expires_at"]
	expiry.Nullable, expiry.Description = true, "null: the key does not expire."
	return bounded(s)
}

// bounded puts the bounds that commands hold settings to into a schema that has these.
func bounded(s *huma.Schema) *huma.Schema {
	for _, f := range reflect.VisibleFields(reflect.TypeFor[domain.Settings]()) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		rules, _, _ := strings.Cut(f.Tag.Get("validate"), "dive") // what follows is about its entries
		for _, rule := range strings.Split(rules, ",") {
			bound(s.Properties[name], rule)
		}
	}
	return s
}

// bound puts one rule of the validator into a field's schema, if the schema can say it.
func bound(s *huma.Schema, rule string) {
	kind, value, _ := strings.Cut(rule, "=")
	n, _ := strconv.Atoi(value)
	switch {
	case kind == "required" && s.Type == huma.TypeString:
		one := 1
		s.MinLength = &one
	case kind == "max" && s.Type == huma.TypeString:
		s.MaxLength = &n
	case kind == "max" && s.Type == huma.TypeArray:
		s.MaxItems = &n
	case kind == "max" && s.Type == huma.TypeObject:
		s.MaxProperties = &n
	}
}

// mergeNulls reads what decoding cannot tell from an absent member: a null, which takes an
// expiry away and would mean nothing for all else.
func (c *keyChanges) mergeNulls(ctx context.Context) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(bodyOf(ctx), &members); err != nil {
		return domain.InvalidField("body", "must be a JSON object")
	}
	for name, value := range members {
		switch {
		case string(value) != "null":
		case name == "expires_at":
			c.ExpiresAt = &time.Time{}
		default:
			return domain.InvalidField(clip(name), "must not be null; leave it out to keep it as it is")
		}
	}
	return nil
}
