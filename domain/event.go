package domain

import "time"

// An Event is a fact that the ledger keeps. The set is closed. Fields are what was known
// at the time: never a computed view, never a secret. Its JSON is public; an event that
// also has facts which are not is Confidential.
//
//sumtype:decl
type Event interface {
	// EventType is the stored name. The Go type may be renamed; this never.
	EventType() string
	event()
}

// A Confidential event has facts that commands and projections need and that readers of
// the trail must not see: they would let a reader try guesses at imported secrets offline.
// Its JSON leaves them out.
type Confidential interface {
	Event
	Private() Private
	// WithPrivate is the event with p for its private facts.
	WithPrivate(p Private) Event
}

// Private is what a confidential event keeps out of its JSON.
type Private struct {
	Digest Digest `json:"digest,omitzero"`
}

// Events are the zero values of all event types.
var Events = []Event{
	KeyCreated{}, KeyUpdated{}, KeyRotated{}, KeyDisabled{}, KeyEnabled{}, KeyRevoked{}, KeyExpired{}, KeyUsed{},
	CredentialsRefused{}, OrganizationCreated{}, OrganizationUpdated{}, KeyringSet{},
}

// KeyCreated began a key. Imported: the secret was issued elsewhere, and Prefix is what
// the importer said of it. Root: it is the installation's root key.
type KeyCreated struct {
	ID           KeyID             `json:"key_id"`
	Org          OrgID             `json:"org_id"`
	Keyspace     string            `json:"keyspace"`
	Name         string            `json:"name"`
	Owner        string            `json:"owner,omitempty"`
	Scopes       []string          `json:"scopes,omitempty"`
	ExpiresAt    time.Time         `json:"expires_at,omitzero"`
	RateLimits   []RateLimit       `json:"rate_limits,omitempty"`
	AllowedCIDRs []string          `json:"allowed_cidrs,omitempty"`
	Metadata     map[string]string `json:"metadata,omitempty"`
	Digest       Digest            `json:"-"` // private
	Prefix       string            `json:"prefix"`
	Imported     bool              `json:"imported,omitempty"`
	Root         bool              `json:"root,omitempty"`
	At           time.Time         `json:"at"`
	By           string            `json:"by"`
}

// KeyUpdated changed the fields that it has. NoExpiry took the expiry away.
type KeyUpdated struct {
	Prefix string `json:"prefix"`
	Changes
	At time.Time `json:"at"`
	By string    `json:"by"`
}

// Changes are new values for a key's fields; nil leaves a field as it is.
type Changes struct {
	Name         *string            `json:"name,omitempty"`
	Owner        *string            `json:"owner,omitempty"`
	Scopes       *[]string          `json:"scopes,omitempty"`
	ExpiresAt    *time.Time         `json:"expires_at,omitempty"`
	NoExpiry     bool               `json:"no_expiry,omitempty"`
	RateLimits   *[]RateLimit       `json:"rate_limits,omitempty"`
	AllowedCIDRs *[]string          `json:"allowed_cidrs,omitempty"`
	Metadata     *map[string]string `json:"metadata,omitempty"`
}

// KeyRotated gave the key a new secret; those before it ended at OldValidUntil at the
// latest. If that is not after At they ended with the event, whatever a clock says.
type KeyRotated struct {
	Digest        Digest    `json:"-"` // private
	Prefix        string    `json:"prefix"`
	OldValidUntil time.Time `json:"old_valid_until"`
	At            time.Time `json:"at"`
	By            string    `json:"by"`
}

// KeyDisabled took the key out of use until it is enabled.
type KeyDisabled struct {
	Prefix string    `json:"prefix"`
	At     time.Time `json:"at"`
	By     string    `json:"by"`
}

// KeyEnabled put a disabled key back into use.
type KeyEnabled struct {
	Prefix string    `json:"prefix"`
	At     time.Time `json:"at"`
	By     string    `json:"by"`
}

// KeyRevoked ended the key for good.
type KeyRevoked struct {
	Prefix  string    `json:"prefix"`
	Reason  Reason    `json:"reason"`
	Comment string    `json:"comment,omitempty"`
	At      time.Time `json:"at"`
	By      string    `json:"by"`
}

// KeyExpired is a record that the key's time ran out. It decides nothing: verification
// goes by ExpiresAt and the clock.
type KeyExpired struct {
	Prefix    string    `json:"prefix"`
	ExpiresAt time.Time `json:"expires_at"`
	At        time.Time `json:"at"`
}

// KeyUsed is one verification of a key, whatever its outcome; or, with a Count, several
// refusals that were summed up.
type KeyUsed struct {
	Key       KeyID     `json:"key_id"`
	Code      Outcome   `json:"code"`
	Scopes    []string  `json:"scopes,omitempty"` // those asked for
	IP        string    `json:"ip,omitempty"`
	Principal string    `json:"principal,omitempty"` // who asked
	RequestID string    `json:"request_id,omitempty"`
	Windows   []int64   `json:"windows,omitempty"`   // the rate limit windows that it counts in, in milliseconds
	At        time.Time `json:"at"`                  // of the last one of a sum
	Count     int64     `json:"count,omitempty"`     // how many uses it stands for, if more than one
	First     time.Time `json:"first,omitzero"`      // when the first one of a sum was
	Addresses []string  `json:"addresses,omitempty"` // some that a sum's uses came from
}

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

// OrganizationCreated began an organization.
type OrganizationCreated struct {
	ID   OrgID     `json:"org_id"`
	Name string    `json:"name"`
	At   time.Time `json:"at"`
	By   string    `json:"by"`
}

// OrganizationUpdated renamed an organization.
type OrganizationUpdated struct {
	Name string    `json:"name"`
	At   time.Time `json:"at"`
	By   string    `json:"by"`
}

// KeyringSet says which keyring the installation has, by its fingerprint. Its secret is in
// a file alone.
type KeyringSet struct {
	Fingerprint string    `json:"fingerprint"`
	Before      string    `json:"before,omitempty"` // that of the keyring that it replaced
	At          time.Time `json:"at"`
	By          string    `json:"by"`
}

func (KeyCreated) EventType() string          { return "key.created" }
func (KeyUpdated) EventType() string          { return "key.updated" }
func (KeyRotated) EventType() string          { return "key.rotated" }
func (KeyDisabled) EventType() string         { return "key.disabled" }
func (KeyEnabled) EventType() string          { return "key.enabled" }
func (KeyRevoked) EventType() string          { return "key.revoked" }
func (KeyExpired) EventType() string          { return "key.expired" }
func (KeyUsed) EventType() string             { return "key.used" }
func (CredentialsRefused) EventType() string  { return "credentials.refused" }
func (OrganizationCreated) EventType() string { return "organization.created" }
func (OrganizationUpdated) EventType() string { return "organization.updated" }
func (KeyringSet) EventType() string          { return "keyring.set" }

func (KeyCreated) event()          {}
func (KeyUpdated) event()          {}
func (KeyRotated) event()          {}
func (KeyDisabled) event()         {}
func (KeyEnabled) event()          {}
func (KeyRevoked) event()          {}
func (KeyExpired) event()          {}
func (KeyUsed) event()             {}
func (CredentialsRefused) event()  {}
func (OrganizationCreated) event() {}
func (OrganizationUpdated) event() {}
func (KeyringSet) event()          {}

func (e KeyCreated) Private() Private { return Private{Digest: e.Digest} }
func (e KeyRotated) Private() Private { return Private{Digest: e.Digest} }

func (e KeyCreated) WithPrivate(p Private) Event { e.Digest = p.Digest; return e }
func (e KeyRotated) WithPrivate(p Private) Event { e.Digest = p.Digest; return e }
