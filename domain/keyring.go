package domain

import "time"

// A Keyring is what the ledger knows of the installation's keyring: its fingerprint. The
// zero value has no history.
type Keyring struct{ Fingerprint string }

// KeyringSet says which keyring the installation has, by its fingerprint. Its secret is in
// a file alone.
type KeyringSet struct {
	Fingerprint string `json:"fingerprint"`
	Before      string `json:"before,omitempty"` // that of the keyring that it replaced
	Header
}

// SetKeyring asks for the keyring to be the installation's. Replace: also if it has another.
type SetKeyring struct {
	Fingerprint string
	Replace     bool
	At          time.Time
	By          Principal
}

// Set decides whether the keyring may be the installation's.
func (k Keyring) Set(c SetKeyring) (Event, error) {
	switch {
	case !c.By.isSystem():
		return nil, ErrOutOfReach
	case k.Fingerprint == c.Fingerprint:
		return nil, nil
	case k.Fingerprint != "" && !c.Replace:
		return nil, ErrKeyringMismatch
	}
	return KeyringSet{Fingerprint: c.Fingerprint, Before: k.Fingerprint, Header: Header{c.At, c.By.ID}}, nil
}

// Apply moves k past e. It cannot fail and must not judge: e already happened.
func (k *Keyring) Apply(e Event) {
	if e, ok := e.(KeyringSet); ok {
		k.Fingerprint = e.Fingerprint
	}
}
