package domain_test

import (
	"errors"
	"reflect"
	"testing"
	"time"

	. "github.com/keytrail/keytrail/domain"
)

func TestNewKeysAreWithinBounds(t *testing.T) {
	const day = Duration(24 * time.Hour)
	limits := []RateLimit{{Limit: 100, Window: Duration(time.Minute)}}
	catalogue := []ScopeEntry{{Scope: "agents:read"}, {Scope: "agents:write"}, {Scope: "logs:read"}}
	for name, c := range map[string]struct {
		policy KeyspaceDefinition
		asked  Settings
		ttl    Duration
		then   Settings
		field  string
	}{
		"nothing asked, nothing said": {},
		"the defaults": {policy: KeyspaceDefinition{Defaults: KeyDefaults{TTL: day, Scopes: []string{"a:b"}, RateLimits: limits}},
			then: Settings{Scopes: []string{"a:b"}, RateLimits: limits, ExpiresAt: noon.Add(24 * time.Hour)}},
		"no scopes and limits are asked for": {policy: KeyspaceDefinition{Defaults: KeyDefaults{Scopes: []string{"a:b"}, RateLimits: limits}},
			asked: Settings{Scopes: []string{}, RateLimits: []RateLimit{}}, then: Settings{Scopes: []string{}, RateLimits: []RateLimit{}}},
		"the longest by default":              {policy: KeyspaceDefinition{Bounds: KeyBounds{MaxTTL: day}}, then: Settings{ExpiresAt: noon.Add(24 * time.Hour)}},
		"a shorter default":                   {policy: KeyspaceDefinition{Defaults: KeyDefaults{TTL: day / 2}, Bounds: KeyBounds{MaxTTL: day}}, then: Settings{ExpiresAt: noon.Add(12 * time.Hour)}},
		"a ttl at the bound":                  {policy: KeyspaceDefinition{Bounds: KeyBounds{MaxTTL: day}}, ttl: day, then: Settings{ExpiresAt: noon.Add(24 * time.Hour)}},
		"a ttl beyond it":                     {policy: KeyspaceDefinition{Bounds: KeyBounds{MaxTTL: day}}, ttl: day + 1, field: "ttl"},
		"an expiry at the bound":              {policy: KeyspaceDefinition{Bounds: KeyBounds{MaxTTL: day}}, asked: Settings{ExpiresAt: noon.Add(24 * time.Hour)}, then: Settings{ExpiresAt: noon.Add(24 * time.Hour)}},
		"an expiry beyond it":                 {policy: KeyspaceDefinition{Bounds: KeyBounds{MaxTTL: day}}, asked: Settings{ExpiresAt: noon.Add(24*time.Hour + 1)}, field: "expires_at"},
		"scopes of the catalogue":             {policy: KeyspaceDefinition{Scopes: catalogue}, asked: Settings{Scopes: []string{"agents:read", "logs:*", "*"}}, then: Settings{Scopes: []string{"agents:read", "logs:*", "*"}}},
		"a scope that is not there":           {policy: KeyspaceDefinition{Scopes: catalogue}, asked: Settings{Scopes: []string{"agents:read", "agents:delete"}}, field: "scopes[1]"},
		"a wildcard over nothing in it":       {policy: KeyspaceDefinition{Scopes: catalogue}, asked: Settings{Scopes: []string{"billing:*"}}, field: "scopes[0]"},
		"a default that the catalogue has no": {policy: KeyspaceDefinition{Scopes: catalogue, Defaults: KeyDefaults{Scopes: []string{"x:y"}}}, field: "scopes[0]"},
	} {
		event, err := Key{}.Create(CreateKey{Org: acme, Keyspace: "p", Policy: c.policy, Settings: c.asked, TTL: c.ttl, At: noon, By: admin})
		if c.field != "" {
			if got := fieldOf(err); got != c.field {
				t.Errorf("%s: %v is of %q, want %q", name, err, got, c.field)
			}
		} else if err != nil || !reflect.DeepEqual(event.(KeyCreated).Settings, c.then) {
			t.Errorf("%s: %+v, %v; want %+v", name, event, err, c.then)
		}
	}
}

func fieldOf(err error) string {
	var refused *Error
	if !errors.As(err, &refused) || refused.Code != "invalid_field" {
		return "-"
	}
	return refused.Field
}

// A key that is beyond newer bounds can be changed elsewhere, and back to within.
func TestChangesAreWithinBounds(t *testing.T) {
	policy := KeyspaceDefinition{Scopes: []ScopeEntry{{Scope: "a:read"}, {Scope: "b:read"}}, Bounds: KeyBounds{MaxTTL: Duration(48 * time.Hour)}}
	old := fold(KeyCreated{Org: acme, Keyspace: "p", Settings: Settings{Name: "old", Scopes: []string{"gone:read", "a:read"}}, Header: Header{At: noon}})
	rotated := old
	rotated.Apply(KeyRotated{OldValidUntil: noon.Add(time.Hour), Header: Header{At: noon.Add(time.Hour)}})
	at := func(d time.Duration) Changes { return Changes{ExpiresAt: new(noon.Add(d))} }
	scopes := func(s ...string) Changes { return Changes{Scopes: &s} }
	for name, c := range map[string]struct {
		key     Key
		changes Changes
		field   string
	}{
		"another name":                 {old, Changes{Name: new("new")}, ""},
		"the scopes as they are":       {old, scopes("gone:read", "a:read"), ""},
		"fewer, with the old one":      {old, scopes("gone:read"), ""},
		"others, with the old one":     {old, scopes("gone:read", "b:read"), ""},
		"one that is not there":        {old, scopes("a:read", "c:read"), "scopes[1]"},
		"an expiry within":             {old, at(48 * time.Hour), ""},
		"an expiry beyond":             {old, at(48*time.Hour + 1), "expires_at"},
		"after a rotation it is later": {rotated, at(49 * time.Hour), ""},
	} {
		_, err := c.key.Update(UpdateKey{Changes: c.changes, Policy: policy, At: noon.Add(2 * time.Hour), By: admin})
		if c.field == "" && err != nil || c.field != "" && fieldOf(err) != c.field {
			t.Errorf("%s: %v, want %q", name, err, c.field)
		}
	}
	expiring := old
	expiring.ExpiresAt = noon.Add(100 * time.Hour)
	if _, err := expiring.Update(UpdateKey{Changes: Changes{ExpiresAt: &time.Time{}}, Policy: policy, At: noon, By: admin}); fieldOf(err) != "expires_at" {
		t.Errorf("an expiry taken away: %v", err)
	}
}

func TestOverlapsAreWithinBounds(t *testing.T) {
	hours := func(n int) *Duration { return new(Duration(n) * Duration(time.Hour)) }
	for _, c := range []struct {
		bounds KeyBounds
		asked  *Duration
		then   time.Duration
		ok     bool
	}{
		{KeyBounds{}, nil, 0, true},
		{KeyBounds{}, hours(3), 3 * time.Hour, true},
		{KeyBounds{MinOverlap: *hours(2)}, nil, 2 * time.Hour, true},
		{KeyBounds{MinOverlap: *hours(2)}, hours(2), 2 * time.Hour, true},
		{KeyBounds{MinOverlap: *hours(2)}, hours(0), 0, false},
		{KeyBounds{MaxOverlap: hours(2)}, hours(2), 2 * time.Hour, true},
		{KeyBounds{MaxOverlap: hours(2)}, hours(3), 0, false},
		{KeyBounds{MaxOverlap: hours(0)}, nil, 0, true},
		{KeyBounds{MaxOverlap: hours(0)}, hours(1), 0, false},
	} {
		got, err := c.bounds.Overlap(c.asked)
		if got != c.then || (err == nil) != c.ok || !c.ok && fieldOf(err) != "overlap" {
			t.Errorf("%+v, asked for %v: %v, %v", c.bounds, c.asked, got, err)
		}
	}
}

func TestRotationIsDueByTheNewestSecret(t *testing.T) {
	bounds := KeyBounds{RotateAfter: Duration(time.Hour)}
	rotated := KeyRotated{OldValidUntil: noon, Header: Header{At: noon.Add(time.Hour)}}
	for name, c := range map[string]struct {
		bounds KeyBounds
		given  []Event
		at     time.Duration
		due    bool
	}{
		"before":                     {bounds, []Event{created}, time.Hour - 1, false},
		"at the time":                {bounds, []Event{created}, time.Hour, true},
		"rotated":                    {bounds, []Event{created, rotated}, time.Hour, false},
		"an hour later":              {bounds, []Event{created, rotated}, 2 * time.Hour, true},
		"disabled":                   {bounds, []Event{created, KeyDisabled{}}, time.Hour, true},
		"revoked":                    {bounds, []Event{created, revoked}, time.Hour, false},
		"expired":                    {bounds, []Event{brief}, time.Hour, false},
		"a keyspace without a bound": {KeyBounds{}, []Event{created}, 1000 * time.Hour, false},
	} {
		k := fold(c.given...)
		if due := c.bounds.RotationDue(&k, noon.Add(c.at)); due != c.due {
			t.Errorf("%s: %t", name, due)
		}
	}
}
