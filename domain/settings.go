package domain

import (
	"maps"
	"slices"
	"time"
)

// Settings are what the holder of a key chooses: what it is called, and what it may do, from
// where, how often and how long. Events, a key's state, commands and the API embed them, so
// that a field is here once. The validate tags are the bounds that commands hold them to,
// and that the API's document states.
type Settings struct {
	Name         string            `json:"name" validate:"required,max=200,text"`
	Owner        string            `json:"owner,omitempty" validate:"max=200,text"`
	Scopes       []string          `json:"scopes,omitempty" validate:"max=100,unique,dive,scope"`
	ExpiresAt    time.Time         `json:"expires_at,omitzero" validate:"when"` // zero: never
	RateLimits   []RateLimit       `json:"rate_limits,omitempty" validate:"max=5,windows,dive"`
	AllowedCIDRs []string          `json:"allowed_cidrs,omitempty" validate:"max=50,dive,cidr_or_ip"` // none: from anywhere
	Metadata     map[string]string `json:"metadata,omitempty" validate:"max=50,dive,keys,min=1,max=64,metakey,endkeys,max=500,text"`
}

// Changes are new values for Settings; nil leaves one as it is. A zero time for ExpiresAt
// takes the expiry away.
type Changes struct {
	Name         *string            `json:"name,omitempty"`
	Owner        *string            `json:"owner,omitempty"`
	Scopes       *[]string          `json:"scopes,omitempty"`
	ExpiresAt    *time.Time         `json:"expires_at,omitempty"`
	RateLimits   *[]RateLimit       `json:"rate_limits,omitempty"`
	AllowedCIDRs *[]string          `json:"allowed_cidrs,omitempty"`
	Metadata     *map[string]string `json:"metadata,omitempty"`
}

// Merge applies c to s, and returns those of the changes that were not so already.
func (s *Settings) Merge(c Changes) (news Changes) {
	return Changes{
		Name:         merge(&s.Name, c.Name, equal),
		Owner:        merge(&s.Owner, c.Owner, equal),
		Scopes:       merge(&s.Scopes, c.Scopes, slices.Equal),
		ExpiresAt:    merge(&s.ExpiresAt, c.ExpiresAt, time.Time.Equal),
		RateLimits:   merge(&s.RateLimits, c.RateLimits, slices.Equal),
		AllowedCIDRs: merge(&s.AllowedCIDRs, c.AllowedCIDRs, slices.Equal),
		Metadata:     merge(&s.Metadata, c.Metadata, maps.Equal),
	}
}

// merge sets field to value. It returns value, or nil if there is none or it is no change.
func merge[T any](field *T, value *T, same func(a, b T) bool) *T {
	if value == nil || same(*field, *value) {
		return nil
	}
	*field = *value
	return value
}

// orNone is a list of changes, or none if it stays as it is.
func orNone[T any](list *[]T) []T {
	if list == nil {
		return nil
	}
	return *list
}

func equal[T comparable](a, b T) bool { return a == b }

// restrict reports whether c touches what a key may do, from where, how often or how long.
func (c Changes) restrict() bool {
	return c.Scopes != nil || c.ExpiresAt != nil || c.RateLimits != nil || c.AllowedCIDRs != nil
}
