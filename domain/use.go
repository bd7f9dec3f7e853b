package domain

import (
	"net/netip"
	"slices"
	"time"
)

// KeyUsed is one verification of a key or of a session, whatever its outcome; or, with a Count,
// several refusals that were summed up.
type KeyUsed struct {
	Key       KeyID     `json:"key_id" jsonschema:"pattern=^(key|ses)_[0-9a-hjkmnp-tv-z]{26}$"` // or the session's
	Code      Outcome   `json:"code"`
	Scopes    []string  `json:"scopes,omitempty"` // those asked for
	IP        string    `json:"ip,omitempty"`
	Principal string    `json:"principal,omitempty"` // the id of the one that asked
	RequestID string    `json:"request_id,omitempty"`
	Resource  string    `json:"resource,omitempty"`  // that it was presented for
	Cost      int64     `json:"cost,omitempty"`      // how many uses it counts as in rate limits, if more than one
	Windows   []int64   `json:"windows,omitempty"`   // the rate limit windows that it counts in, in milliseconds
	Plan      string    `json:"plan,omitempty"`      // of the organization, if it counts among the uses of the month
	Owner     string    `json:"owner,omitempty"`     // of the key, if it counts among those of the owner
	At        time.Time `json:"at"`                  // of the last one of a sum
	Count     int64     `json:"count,omitempty"`     // how many uses it stands for, if more than one
	First     time.Time `json:"first,omitzero"`      // when the first one of a sum was
	Addresses []string  `json:"addresses,omitempty"` // some that a sum's uses came from
	Resources []string  `json:"resources,omitempty"` // some that a sum's uses were presented for
}

// Happened is when the use was decided.
func (u KeyUsed) Happened() time.Time { return u.At }

// Uses is how many uses it stands for.
func (u KeyUsed) Uses() int64 { return max(u.Count, 1) }

// CredentialsRefused sums up presented secrets that belong to no key within the asker's
// reach, so that a flood of them cannot flood the ledger.
type CredentialsRefused struct {
	Principal string    `json:"principal"`
	Count     int64     `json:"count"`
	From      time.Time `json:"from"`
	To        time.Time `json:"to"`
}

// Happened is when the last of them was refused.
func (c CredentialsRefused) Happened() time.Time { return c.To }

func (KeyUsed) event()            {}
func (CredentialsRefused) event() {}

// A Credential is all of a key, seen through one of its secrets, or of a session, that the decision
// about a use needs. Times are milliseconds since the Unix epoch; 0: no end.
type Credential struct {
	Key          KeyID // or the session's id
	Org          OrgID
	Keyspace     string
	State        State
	ExpiresAt    int64 // of the key
	ValidUntil   int64 // of the secret
	Ended        bool  // the secret was rotated away without an overlap
	Scopes       []string
	AllowedCIDRs []netip.Prefix
	RateLimits   []RateLimit
}

// A UseRequest is what a service asks about a presented secret.
type UseRequest struct {
	At       time.Time
	Keyspace string     // "": any but the management keyspace
	Scopes   []string   // all of them are needed
	Resource OrgID      // the organization of what the key is used on; "": not said
	IP       netip.Addr // of the client; the zero Addr: not said
	By       Principal  // that asks
	Cost     int64      // how many uses it counts as in rate limits; 0: one
	Counts   []int64    // earlier valid uses in the current window of each of the key's rate limits

	Owner        State // Revoked or Disabled, if the key's owner is a user who has left or who is
	OrgSuspended bool  // the key's organization is
	Plan         *Plan // of the organization; nil: it has none
	Surplus      bool  // the organization has more keys than its plan allows, and this is one of the newest
	Quotas       []UsesQuota
	Used         []int64 // earlier valid uses of the month, for each of the quotas
	Unmet        bool    // the keyspace has a requirement that is not met
}

// Decide is the decision about one use. It is UseNotFound for whatever the asker cannot
// reach, so that a key of another organization looks like no key at all.
func (c Credential) Decide(r UseRequest) Outcome {
	now := r.At.UnixMilli()
	switch {
	case c.State == Absent || !r.By.Reaches(c.Org) || !c.serves(r.Keyspace):
		return UseNotFound
	case c.State == Revoked || r.Owner == Revoked:
		return UseRevoked
	case c.Ended || passed(c.ExpiresAt, now) || passed(c.ValidUntil, now):
		return UseExpired
	case c.State == Disabled || r.Owner == Disabled:
		return UseDisabled
	case r.OrgSuspended:
		return UseOrgSuspended
	case r.Plan != nil && (!r.Plan.ProgrammaticAccess || r.Surplus):
		return UsePlanForbids
	case r.Resource != "" && r.Resource != c.Org:
		return UseWrongOrganization
	case len(r.Scopes) > 0 && !c.has(r.Scopes):
		return UseInsufficientScope
	case len(r.Scopes) > 0 && !r.Plan.allows(r.Scopes):
		return UsePlanForbids
	case len(c.AllowedCIDRs) > 0 && !c.allows(r.IP):
		return UseIPNotAllowed
	case r.Unmet:
		return UseRequirementUnmet
	}
	for i, l := range c.RateLimits {
		if r.Counts[i] > l.Limit-max(r.Cost, 1) {
			return UseRateLimited
		}
	}
	for i, q := range r.Quotas {
		if r.Used[i] > q.Limit-max(r.Cost, 1) {
			return UseQuotaExceeded
		}
	}
	return UseValid
}

// has reports whether the key has the scopes. A management key has RevealScope only if it lists it.
func (c Credential) has(scopes []string) bool {
	if c.Keyspace == ManagementKeyspace && slices.Contains(scopes, RevealScope) && !slices.Contains(c.Scopes, RevealScope) {
		return false
	}
	return coversAll(c.Scopes, scopes)
}

func (c Credential) serves(keyspace string) bool {
	if keyspace == "" {
		return c.Keyspace != ManagementKeyspace
	}
	return c.Keyspace == keyspace
}

// Good reports whether the secret is that of a key that is not ended, be the key disabled.
func (c Credential) Good(at time.Time) bool {
	now := at.UnixMilli()
	return (c.State == Active || c.State == Disabled) && !c.Ended && !passed(c.ExpiresAt, now) && !passed(c.ValidUntil, now)
}

func (c Credential) allows(ip netip.Addr) bool {
	ip = ip.Unmap()
	for _, p := range c.AllowedCIDRs {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

func passed(end, now int64) bool { return end != 0 && now >= end }
