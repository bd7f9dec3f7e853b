package domain

import (
	"slices"
	"time"
)

// A Month is a calendar month in UTC, counted from January of the year 0.
type Month int32

// MonthAt is the month of a moment.
func MonthAt(t time.Time) Month {
	year, month, _ := t.UTC().Date()
	return Month(year*12 + int(month) - 1)
}

// Start is the month's first moment.
func (m Month) Start() time.Time {
	return time.Date(int(m)/12, time.Month(m%12)+1, 1, 0, 0, 0, 0, time.UTC)
}

// End is when the next month begins.
func (m Month) End() time.Time { return (m + 1).Start() }

// String is like 2026-11.
func (m Month) String() string { return m.Start().Format("2006-01") }

// A UsesOf says whose uses of a month are counted.
type UsesOf uint8

// Those of an organization, of an owner, and of a key.
const (
	UsesOfOrganization UsesOf = iota
	UsesOfOwner
	UsesOfKey
)

var usesOfNames = [...]string{"organization", "owner", "key"}

func (u UsesOf) String() string { return usesOfNames[u] }

// A UsesQuota allows Limit valid uses in each calendar month, each as often as it costs.
type UsesQuota struct {
	Of    UsesOf
	Limit int64
}

// AppendQuotas appends those that the uses of a key, or a session, count in. One without an owner has none of
// that, and a session none of its own.
func (p *Plan) AppendQuotas(all []UsesQuota, id KeyID, owner string) []UsesQuota {
	if p.UsesAMonth != nil {
		all = append(all, UsesQuota{UsesOfOrganization, *p.UsesAMonth})
	}
	if p.UsesAMonthPerOwner != nil && owner != "" {
		all = append(all, UsesQuota{UsesOfOwner, *p.UsesAMonthPerOwner})
	}
	if p.UsesAMonthPerKey != nil && !id.IsSession() {
		all = append(all, UsesQuota{UsesOfKey, *p.UsesAMonthPerKey})
	}
	return all
}

// allows reports whether keys may be used for all of some scopes.
func (p *Plan) allows(scopes []string) bool {
	return p == nil || p.Scopes == nil || coversAll(p.Scopes, scopes)
}

// Tighten makes the rate limits of a key those that hold for it: of each window the lower one of its
// own and the plan's. It changes limits.
func (p *Plan) Tighten(limits []RateLimit) []RateLimit {
	for _, l := range p.RateLimits {
		i := slices.IndexFunc(limits, func(own RateLimit) bool { return own.Window == l.Window })
		if i < 0 {
			limits = append(limits, l)
		} else {
			limits[i].Limit = min(limits[i].Limit, l.Limit)
		}
	}
	return limits
}

// allowsSettings refuses settings of a key that the plan does not allow. What a key has already may
// stay: verification does not let it be used.
func (p *Plan) allowsSettings(scopes []string, limits []RateLimit, has Settings) error {
	if p == nil {
		return nil
	}
	for _, s := range scopes {
		if !p.allows([]string{s}) && !slices.Contains(has.Scopes, s) {
			return PlanForbids("the plan %s does not have the scope %s; leave it out, or take another plan", p.Name, s)
		}
	}
	for _, l := range limits {
		i := slices.IndexFunc(p.RateLimits, func(of RateLimit) bool { return of.Window == l.Window })
		if i >= 0 && l.Limit > p.RateLimits[i].Limit && !slices.Contains(has.RateLimits, l) {
			return PlanForbids("the plan %s allows at most %d uses in %s; ask for no more, or take another plan", p.Name, p.RateLimits[i].Limit, l.Window)
		}
	}
	return nil
}

// allowsKeys refuses all keys if the plan has no programmatic access.
func (p *Plan) allowsKeys() error {
	if p != nil && !p.ProgrammaticAccess {
		return PlanForbids("the plan %s has no programmatic access, and so no keys; take another plan", p.Name)
	}
	return nil
}
