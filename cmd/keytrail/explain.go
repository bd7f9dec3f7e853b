package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keytrail/keytrail/domain"
)

// A verification is what a verification answered, and what it was asked.
type verification struct {
	Code        domain.Outcome `json:"code"`
	Keyspace    string         `json:"keyspace"`
	Org         string         `json:"org_id"`
	Scopes      []string       `json:"scopes"`
	ExpiresAt   *time.Time     `json:"expires_at"`
	RateLimits  []limitState   `json:"rate_limits"`
	Owner       string         `json:"owner"`
	Quotas      []quotaState   `json:"quotas"`
	Requirement requirement    `json:"requirement"`

	asked []string // scopes
	ip    string
	now   time.Time
}

// A requirement is an attribute that is missing, and whose it is.
type requirement struct {
	Attribute string `json:"attribute"`
	Of        string `json:"of"`
}

type limitState struct {
	Limit     int64  `json:"limit"`
	Window    string `json:"window"`
	Remaining int64  `json:"remaining"`
	Reset     int64  `json:"reset"`
}

type quotaState struct {
	Of        string `json:"of"`
	Limit     int64  `json:"limit"`
	Remaining int64  `json:"remaining"`
	Reset     int64  `json:"reset"`
}

// explain says in a sentence why the key is refused, as far as the answer tells.
func (v verification) explain() string {
	switch v.Code {
	case domain.UseValid:
		return "The key is good" + v.until() + "."
	case domain.UseNotFound:
		return "No key within reach has this secret: it was mistyped or cut off, belongs to another installation, organization or keyspace than was asked for, or is a token that is not valid here."
	case domain.UseRevoked:
		return "The key was revoked, which is final."
	case domain.UseExpired:
		return v.expired()
	case domain.UseDisabled:
		return "The key is disabled; keytrail keys enable puts it back into use."
	case domain.UseInsufficientScope:
		return "The key lacks " + v.lacking() + "."
	case domain.UseIPNotAllowed:
		return v.notFromThere()
	case domain.UseRateLimited:
		return v.limited()
	case domain.UseRequirementUnmet:
		return v.unmet()
	case domain.UseWrongOrganization:
		return "The key belongs to the organization " + v.Org + ", and not to that of what it was presented for."
	case domain.UseOrgSuspended:
		return "The key's organization, " + v.Org + ", is suspended."
	case domain.UsePlanForbids:
		return "The plan of the key's organization, " + v.Org + ", does not allow it: it has no programmatic access, not this scope, or the organization has more keys than it allows, and this is one of the newest."
	case domain.UseQuotaExceeded:
		return v.exceeded()
	}
	return "This program does not know the outcome; a newer one may."
}

// until says when a good key ends.
func (v verification) until() string {
	if v.ExpiresAt == nil {
		return ""
	}
	return " until " + when(v.ExpiresAt)
}

// expired tells the end of the key from that of one of its secrets.
func (v verification) expired() string {
	if v.ExpiresAt != nil && !v.ExpiresAt.After(v.now) {
		return "The key expired at " + when(v.ExpiresAt) + "."
	}
	return "The key has another secret by now: this one was rotated away."
}

// lacking are the scopes that were asked for and that the key has not.
func (v verification) lacking() string {
	missing := slices.DeleteFunc(slices.Clone(v.asked), func(s string) bool { return slices.Contains(domain.SharedScopes([]string{s}, v.Scopes), s) })
	if len(missing) == 0 {
		return "a scope that is needed"
	}
	return "the scope " + strings.Join(missing, " and ")
}

func (v verification) notFromThere() string {
	if v.ip == "" {
		return "The key may be used from some networks alone, and no address was given; --ip names the client's."
	}
	return "The key may not be used from " + v.ip + "."
}

// unmet names the attribute that is missing, and who lacks it.
func (v verification) unmet() string {
	who := fmt.Sprintf("The key's owner, %q,", v.Owner)
	if v.Requirement.Of == "organization" {
		who = "The key's organization, " + v.Org + ","
	} else if v.Owner == "" {
		who = "The key has no owner, and so"
	}
	return who + " lacks the attribute " + v.Requirement.Attribute + ", which the keyspace " + v.Keyspace + " requires."
}

// exceeded names the quota that is used up, and when the next month begins.
func (v verification) exceeded() string {
	for _, q := range v.Quotas {
		if q.Remaining == 0 {
			at := time.Unix(q.Reset, 0).UTC()
			return fmt.Sprintf("The %d uses a month of the %s that the plan of %s allows are used up until %s.", q.Limit, q.Of, v.Org, when(&at))
		}
	}
	return "The use costs more than is left of the uses a month that the plan of " + v.Org + " allows."
}

// limited names the rate limits that are used up, and when the last of them is free again.
func (v verification) limited() string {
	var full []string
	var free int64
	for _, l := range v.RateLimits {
		if l.Remaining == 0 {
			full, free = append(full, fmt.Sprintf("%d in %s", l.Limit, l.Window)), max(free, l.Reset)
		}
	}
	if full == nil {
		return "A rate limit of the key is used up."
	}
	at := time.Unix(free, 0).UTC()
	return fmt.Sprintf("The key's rate limit of %s is used up until %s.", strings.Join(full, " and "), when(&at))
}
