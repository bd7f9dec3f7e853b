package domain

import "time"

// KeyCreated began a key. Imported: the secret was issued elsewhere, and Prefix is what
// the importer said of it. Root: it is the installation's root key.
type KeyCreated struct {
	ID       KeyID  `json:"key_id"`
	Org      OrgID  `json:"org_id"`
	Keyspace string `json:"keyspace"`
	// Environment is the part of the keyspace that the key is of; "": it has none.
	Environment string `json:"environment,omitempty"`
	Settings
	Digest   Digest `json:"-"` // private
	Sealed   []byte `json:"-"` // private
	Prefix   string `json:"prefix"`
	Imported bool   `json:"imported,omitempty"`
	Root     bool   `json:"root,omitempty"`
	Header
}

// KeyUpdated changed the fields that it has. NoExpiry took the expiry away.
type KeyUpdated struct {
	Prefix string `json:"prefix"`
	Changes
	NoExpiry bool `json:"no_expiry,omitempty"`
	Header
}

// KeyRotated gave the key a new secret; those before it ended at OldValidUntil at the
// latest. If that is not after At they ended with the event, whatever a clock says.
type KeyRotated struct {
	Digest        Digest    `json:"-"` // private
	Sealed        []byte    `json:"-"` // private
	Prefix        string    `json:"prefix"`
	OldValidUntil time.Time `json:"old_valid_until"`
	Header
}

// KeyDisabled took the key out of use until it is enabled.
type KeyDisabled struct {
	Prefix string `json:"prefix"`
	Header
}

// KeyEnabled put a disabled key back into use.
type KeyEnabled struct {
	Prefix string `json:"prefix"`
	Header
}

// KeyRevoked ended the key for good.
type KeyRevoked struct {
	Prefix  string `json:"prefix"`
	Reason  Reason `json:"reason"`
	Comment string `json:"comment,omitempty"`
	Header
}

// KeyExpired is a record that the key's time ran out. It decides nothing: verification
// goes by ExpiresAt and the clock.
type KeyExpired struct {
	Prefix    string    `json:"prefix"`
	ExpiresAt time.Time `json:"expires_at"`
	Header
}

// KeyRevealed showed the key's secret to By.
type KeyRevealed struct {
	Prefix string `json:"prefix"`
	Header
}

// KeyAbandoned is in the history of a key that was not created in time, so that a creation which
// was decided before it conflicts. The key can be created after it.
type KeyAbandoned struct {
	ID KeyID `json:"key_id"`
	Header
}

func (e KeyCreated) Private() Private { return Private{Digest: e.Digest, Sealed: e.Sealed} }
func (e KeyRotated) Private() Private { return Private{Digest: e.Digest, Sealed: e.Sealed} }

func (e KeyCreated) WithPrivate(p Private) Event { e.Digest, e.Sealed = p.Digest, p.Sealed; return e }
func (e KeyRotated) WithPrivate(p Private) Event { e.Digest, e.Sealed = p.Digest, p.Sealed; return e }
