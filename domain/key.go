package domain

import (
	"cmp"
	"slices"
	"time"
)

// A State is where in its life a key is. The zero State means no history.
type State uint8

// The states of a key. Revoked is final. Expired is never stored: the clock decides it,
// so that a clock that is put right makes a key good again.
const (
	Absent State = iota
	Active
	Disabled
	Expired
	Revoked
)

var stateNames = [...]string{"absent", "active", "disabled", "expired", "revoked"}

func (s State) String() string { return stateNames[s] }

// StateNames are the names of the states that a key can be in.
func StateNames() []string { return stateNames[1:] }

// ParseState reads a state as a listing's filter names it.
func ParseState(name string) (State, error) {
	if i := slices.Index(stateNames[1:], name); i >= 0 {
		return State(i + 1), nil
	}
	return Absent, InvalidField("status", "a status is active, disabled, expired or revoked")
}

// A Reason says why a key was revoked; the codes are those of RFC 5280, section 5.3.1,
// that make sense for a key.
type Reason string

// The reasons for a revocation.
const (
	Unspecified          Reason = "unspecified"
	KeyCompromise        Reason = "key_compromise"
	Superseded           Reason = "superseded"
	AffiliationChanged   Reason = "affiliation_changed"
	PrivilegeWithdrawn   Reason = "privilege_withdrawn"
	CessationOfOperation Reason = "cessation_of_operation"
)

// Reasons are all reasons for a revocation.
var Reasons = []Reason{Unspecified, KeyCompromise, Superseded, AffiliationChanged, PrivilegeWithdrawn, CessationOfOperation}

// maxSecrets is how many secrets of a key are remembered, and so how many can be valid at
// once. Older ones are forgotten: presenting one is like presenting an unknown secret.
const maxSecrets = 10

// A Key is the state of one key. The zero Key has no history, and every decision handles it.
type Key struct {
	ID          KeyID  `json:"id"`
	Org         OrgID  `json:"org"`
	Keyspace    string `json:"ks"`
	Environment string `json:"env,omitempty"`
	Settings
	State          State       `json:"state"`
	CreatedAt      time.Time   `json:"created"`
	CreatedBy      string      `json:"by"`
	Secrets        []KeySecret `json:"secrets"` // newest first
	Imported       bool        `json:"imported,omitempty"`
	Root           bool        `json:"root,omitempty"`
	Abandoned      bool        `json:"-"`                        // it is Absent, and has a history: a creation that was decided before that is not written
	RecordedExpiry time.Time   `json:"recorded_expiry,omitzero"` // the ExpiresAt that key.expired was last written for
	NotedExpiry    time.Time   `json:"noted_expiry,omitzero"`    // the ExpiresAt that key.expiring was last written for
	NotedIdle      time.Time   `json:"noted_idle,omitzero"`      // the beginning of the time without use that key.idle was last written for
	RevokedAt      time.Time   `json:"revoked,omitzero"`
	RevokedBy      string      `json:"revoked_by,omitempty"`
	Reason         Reason      `json:"reason,omitempty"`
	Leaks          int         `json:"leaks,omitempty"`        // reports that a secret of it was found
	TokenMinute    int64       `json:"token_minute,omitempty"` // since the Unix epoch: when a token was derived last
	Tokens         int         `json:"tokens,omitempty"`       // that were derived in it
	Comment        string      `json:"comment,omitempty"`
}

// A KeySecret is what is kept of one of a key's secrets.
type KeySecret struct {
	Digest     Digest    `json:"d"`
	Prefix     string    `json:"p"`
	Sealed     []byte    `json:"sealed,omitempty"` // the secret, under a data key that is not on the ledger
	CreatedAt  time.Time `json:"at"`
	ValidUntil time.Time `json:"until,omitzero"`  // zero: as long as the key
	Ended      bool      `json:"ended,omitempty"` // rotated away without an overlap: refused whatever the clock says
}

// StateAt is the key's state at a moment: an expiry counts from its millisecond on,
// whether or not its event has been written, and only as long as the clock says so.
func (k Key) StateAt(now time.Time) State {
	if (k.State == Active || k.State == Disabled) && !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt) {
		return Expired
	}
	return k.State
}

// CreateKey asks for a new key.
type CreateKey struct {
	ID          KeyID
	Org         OrgID
	Keyspace    string
	Environment string
	Policy      KeyspaceDefinition // of the keyspace
	Plan        *Plan              // of the organization; nil: it has none
	Settings
	TTL      Duration // 0: what Settings say, or the keyspace
	Digest   Digest
	Prefix   string
	Imported bool
	Root     bool // the installation's root key, which the system alone makes and ends
	At       time.Time
	By       Principal
}

// Create decides whether the key may come to be.
func (k Key) Create(c CreateKey) (Event, error) {
	if k.State != Absent {
		return nil, ErrKeyExists
	}
	if !c.By.Reaches(c.Org) {
		return nil, ErrOutOfReach
	}
	if c.Org == Installation && c.Keyspace != ManagementKeyspace {
		return nil, InvalidField("org_id", "name the organization that the key belongs to; only a management key can do without")
	}
	if c.Root && !c.By.isSystem() {
		return nil, ErrRootKeyProtected
	}
	if c.Imported && c.Keyspace == ManagementKeyspace {
		return nil, InvalidField("keyspace", "a management key cannot be imported; create one")
	}
	settings, err := c.Policy.settle(c.Settings, c.TTL, c.At)
	if err != nil {
		return nil, err
	}
	if c.Keyspace != ManagementKeyspace {
		if err := cmp.Or(c.Plan.allowsKeys(), c.Plan.allowsSettings(settings.Scopes, settings.RateLimits, Settings{})); err != nil {
			return nil, err
		}
	}
	if err := c.By.mayGrant(c.Keyspace, settings.Scopes); err != nil {
		return nil, err
	}
	if err := inFuture(settings.ExpiresAt, c.At); err != nil {
		return nil, err
	}
	return KeyCreated{ID: c.ID, Org: c.Org, Keyspace: c.Keyspace, Environment: c.Environment, Settings: settings, Digest: c.Digest, Prefix: c.Prefix,
		Imported: c.Imported, Root: c.Root, Header: Header{c.At, c.By.ID}}, nil
}

func inFuture(expiry, now time.Time) error {
	if !expiry.IsZero() && !expiry.After(now) {
		return InvalidField("expires_at", "an expiry must be in the future; the service's clock says %s", now.Format(time.RFC3339))
	}
	return nil
}

// UpdateKey asks for new values of a key's fields.
type UpdateKey struct {
	Changes
	Policy KeyspaceDefinition // of the key's keyspace
	Plan   *Plan              // of its organization; nil: it has none
	At     time.Time
	By     Principal
}

// Update decides whether the key may be changed, and leaves out what is so already.
func (k Key) Update(c UpdateKey) (Event, error) {
	if err := k.changeable(c.By, c.At); err != nil {
		return nil, err
	}
	if c.Scopes != nil {
		if err := c.By.mayGrant(k.Keyspace, *c.Scopes); err != nil {
			return nil, err
		}
	}
	if c.ExpiresAt != nil {
		if err := inFuture(*c.ExpiresAt, c.At); err != nil {
			return nil, err
		}
	}
	before := k
	news := k.Settings.Merge(c.Changes)
	if news == (Changes{}) {
		return nil, nil
	}
	if err := c.Policy.allowsChanges(&before, news); err != nil {
		return nil, err
	}
	if before.Keyspace != ManagementKeyspace {
		if err := c.Plan.allowsSettings(orNone(news.Scopes), orNone(news.RateLimits), before.Settings); err != nil {
			return nil, err
		}
	}
	if news.restrict() {
		if err := k.protected(c.By); err != nil {
			return nil, err
		}
	}
	e := KeyUpdated{Prefix: k.prefix(), Changes: news, Header: Header{c.At, c.By.ID}}
	if news.ExpiresAt != nil && news.ExpiresAt.IsZero() {
		e.ExpiresAt, e.NoExpiry = nil, true
	}
	return e, nil
}

// protected refuses to take the root key out of use, or to narrow it, to all but the
// system: it is the way back in.
func (k Key) protected(p Principal) error {
	if k.Root && !p.isSystem() {
		return ErrRootKeyProtected
	}
	return nil
}

// RotateKey asks for a new secret. The ones before stay valid for Overlap; 0: refused at once.
type RotateKey struct {
	Digest  Digest
	Prefix  string
	Overlap time.Duration
	At      time.Time
	By      Principal
}

// Rotate decides whether the key may get a new secret.
func (k Key) Rotate(c RotateKey) (Event, error) {
	if err := k.changeable(c.By, c.At); err != nil {
		return nil, err
	}
	if k.validSecrets(c.At) >= maxSecrets && c.Overlap > 0 {
		return nil, ErrTooManySecrets
	}
	return KeyRotated{Digest: c.Digest, Prefix: c.Prefix, OldValidUntil: c.At.Add(c.Overlap), Header: Header{c.At, c.By.ID}}, nil
}

func (k Key) validSecrets(now time.Time) (n int) {
	for _, s := range k.Secrets {
		if !s.Ended && (s.ValidUntil.IsZero() || now.Before(s.ValidUntil)) {
			n++
		}
	}
	return n
}

// DisableKey asks to take a key out of use for a while.
type DisableKey struct {
	At time.Time
	By Principal
}

// Disable decides whether the key may be disabled.
func (k Key) Disable(c DisableKey) (Event, error) {
	if err := k.changeable(c.By, c.At); err != nil || k.State == Disabled {
		return nil, err
	}
	if err := k.protected(c.By); err != nil {
		return nil, err
	}
	return KeyDisabled{Prefix: k.prefix(), Header: Header{c.At, c.By.ID}}, nil
}

// EnableKey asks to put a disabled key back into use.
type EnableKey struct {
	Plan *Plan // of its organization; nil: it has none
	At   time.Time
	By   Principal
}

// Enable decides whether the key may be enabled.
func (k Key) Enable(c EnableKey) (Event, error) {
	if err := k.changeable(c.By, c.At); err != nil || k.State == Active {
		return nil, err
	}
	if k.Keyspace != ManagementKeyspace {
		if err := c.Plan.allowsKeys(); err != nil {
			return nil, err
		}
	}
	return KeyEnabled{Prefix: k.prefix(), Header: Header{c.At, c.By.ID}}, nil
}

// RevokeKey asks to end a key for good.
type RevokeKey struct {
	Reason  Reason
	Comment string
	At      time.Time
	By      Principal
}

// Revoke decides whether the key may be taken out of use. Revoking a revoked key is no
// news: no event and no error. An expired key can be revoked, for the record.
func (k Key) Revoke(c RevokeKey) (Event, error) {
	if err := k.reachable(c.By); err != nil || k.State == Revoked {
		return nil, err
	}
	if err := k.protected(c.By); err != nil {
		return nil, err
	}
	return KeyRevoked{Prefix: k.prefix(), Reason: c.Reason, Comment: c.Comment, Header: Header{c.At, c.By.ID}}, nil
}

// RevealKey asks for the secret of a key. Recoverable: its keyspace lets secrets be revealed.
type RevealKey struct {
	Recoverable bool
	At          time.Time
	By          Principal
}

// Reveal decides whether the key's newest secret may be shown. That of a disabled key may: it
// is to be good again.
func (k Key) Reveal(c RevealKey) (Event, error) {
	if err := k.changeable(c.By, c.At); err != nil {
		return nil, err
	}
	if !c.Recoverable || len(k.Secrets[0].Sealed) == 0 {
		return nil, ErrNotRecoverable
	}
	return KeyRevealed{Prefix: k.prefix(), Header: Header{c.At, c.By.ID}}, nil
}

// Expire decides whether the end of the key's time is still to be written down. Each
// expiry is written once, however the clock moves.
func (k Key) Expire(at time.Time) (Event, error) {
	if k.StateAt(at) != Expired || k.ExpiryRecorded() {
		return nil, nil
	}
	return KeyExpired{Prefix: k.prefix(), ExpiresAt: k.ExpiresAt, Header: Header{At: at}}, nil
}

// Fence decides on an event that ends every change which was decided before it and is not on
// the ledger yet: each expects the key's last event to be another one.
func (k Key) Fence(id KeyID, at time.Time) Event {
	if k.State == Absent {
		return KeyAbandoned{ID: id, Header: Header{At: at, By: System.ID}}
	}
	return KeyUpdated{Prefix: k.prefix(), Header: Header{At: at, By: System.ID}}
}

// AtEnd reports whether the key can never be good again, as long as the clock is right.
func (k Key) AtEnd(now time.Time) bool {
	state := k.StateAt(now)
	return state == Revoked || state == Expired
}

// prefix is the display prefix of the newest secret, which every event of a key has: its
// readers find the key that they know by its prefix without looking up its creation.
func (k Key) prefix() string {
	if len(k.Secrets) == 0 {
		return ""
	}
	return k.Secrets[0].Prefix
}

// ExpiryRecorded reports whether key.expired was written for the expiry that the key has now.
func (k Key) ExpiryRecorded() bool {
	return !k.RecordedExpiry.IsZero() && k.RecordedExpiry.Equal(k.ExpiresAt)
}

// reachable refuses a principal that cannot see the key, as if there were none, and one
// that lacks a scope of the management key it would change.
func (k Key) reachable(p Principal) error {
	if k.State == Absent || !p.Reaches(k.Org) {
		return ErrKeyNotFound
	}
	return p.mayGrant(k.Keyspace, k.Scopes)
}

func (k Key) changeable(p Principal, now time.Time) error {
	if err := k.reachable(p); err != nil {
		return err
	}
	switch k.StateAt(now) {
	case Revoked:
		return ErrKeyRevoked
	case Expired:
		return ErrKeyExpired
	}
	return nil
}

// Apply moves k past e. It cannot fail and must not judge: e already happened.
func (k *Key) Apply(e Event) {
	switch e := e.(type) {
	case KeyCreated:
		*k = Key{ID: e.ID, Org: e.Org, Keyspace: e.Keyspace, Environment: e.Environment, Settings: e.Settings, State: Active, CreatedAt: e.At, CreatedBy: e.By,
			Secrets: []KeySecret{{Digest: e.Digest, Prefix: e.Prefix, Sealed: e.Sealed, CreatedAt: e.At}}, Imported: e.Imported, Root: e.Root}
	case KeyAbandoned:
		k.Abandoned = true
	case KeyUpdated:
		k.Settings.Merge(e.Changes)
		if e.NoExpiry {
			k.ExpiresAt = time.Time{}
		}
	case KeyRotated:
		k.rotate(e)
	case KeyDisabled:
		k.State = Disabled
	case KeyEnabled:
		k.State = Active
	case KeyRevoked:
		k.State, k.RevokedAt, k.RevokedBy, k.Reason, k.Comment = Revoked, e.At, e.By, e.Reason, e.Comment
	case KeyExpired:
		k.RecordedExpiry = e.ExpiresAt
	case KeyLeaked:
		k.Leaks++
	case TokenDerived:
		if minute := minuteOf(e.At); minute != k.TokenMinute {
			k.TokenMinute, k.Tokens = minute, 0
		}
		k.Tokens++
	case KeyExpiring:
		k.NotedExpiry = e.ExpiresAt
	case KeyIdle:
		k.NotedIdle = e.Since
	case KeyRevealed: // which changed nothing
	}
}

func (k *Key) rotate(e KeyRotated) {
	secrets := []KeySecret{{Digest: e.Digest, Prefix: e.Prefix, Sealed: e.Sealed, CreatedAt: e.At}}
	atOnce := !e.OldValidUntil.After(e.At)
	for _, s := range k.Secrets[:min(len(k.Secrets), maxSecrets-1)] {
		s.Sealed, s.Ended = nil, s.Ended || atOnce // its data key is destroyed
		if s.ValidUntil.IsZero() || e.OldValidUntil.Before(s.ValidUntil) {
			s.ValidUntil = e.OldValidUntil
		}
		secrets = append(secrets, s)
	}
	k.Secrets = secrets
}
