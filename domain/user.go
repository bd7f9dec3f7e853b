package domain

import (
	"slices"
	"time"
)

// A User is a person, of the whole installation. What they may do in an organization, its Members
// say. The zero value has no history.
type User struct {
	ID                UserID       `json:"user_id"`
	Email             string       `json:"email"`
	Directory         OrgID        `json:"directory_org_id,omitempty"` // whose directory or provider made the user; the address is no claim then
	Name              string       `json:"name,omitempty"`
	Attributes        Attributes   `json:"attributes,omitempty"`
	CreatedAt         time.Time    `json:"created_at"`
	CreatedBy         string       `json:"created_by,omitempty"`
	DisabledAt        time.Time    `json:"disabled_at,omitzero"` // zero: they are not
	RemovedAt         time.Time    `json:"removed_at,omitzero"`  // zero: they are not
	Password          PasswordHash `json:"password,omitempty"`   // "": none
	PasswordChangedAt time.Time    `json:"password_changed_at,omitzero"`
	Reset             *Reset       `json:"reset,omitempty"` // the last that was asked for; nil: none, or it was used
	Identities        []Identity   `json:"identities,omitempty"`
	Ended             SessionsEnd  `json:"sessions_ended,omitzero"`
	Resets            int          `json:"-"` // that were asked for in ResetHour
	ResetHour         int64        `json:"-"` // since the Unix epoch: when one was asked for last
	Forgone           bool         `json:"-"` // before there was a user: a creation that was decided before that is not written
}

// A Reset lets who has its token set a password.
type Reset struct {
	Digest    Digest    `json:"digest,omitzero"`
	ExpiresAt time.Time `json:"expires_at"`
}

// An Identity is a user as the provider of an organization knows them. It is good there alone.
type Identity struct {
	Org     OrgID  `json:"org_id"`
	Issuer  string `json:"issuer"`
	Subject string `json:"subject"`
}

// A SessionsEnd is when all sessions of a user ended last, but for one. Two of the same moment are told
// apart by their number.
type SessionsEnd struct {
	Number int       `json:"number,omitempty"` // of such ends; 0: there was none
	At     time.Time `json:"at,omitzero"`
	Kept   SessionID `json:"kept,omitempty"`
}

// A UserStatus is what a user is.
type UserStatus string

// The statuses of a user.
const (
	ActiveUser   UserStatus = "active"
	DisabledUser UserStatus = "disabled"
	RemovedUser  UserStatus = "removed"
)

// Status is what the user is, "" for one without history.
func (u *User) Status() UserStatus {
	switch {
	case u.ID == "":
		return ""
	case !u.RemovedAt.IsZero():
		return RemovedUser
	case !u.DisabledAt.IsZero():
		return DisabledUser
	}
	return ActiveUser
}

// UserCreated began a user.
type UserCreated struct {
	ID         UserID       `json:"user_id"`
	Email      string       `json:"email"`
	Directory  OrgID        `json:"directory_org_id,omitempty"`
	Unverified bool         `json:"email_unverified,omitempty"` // the provider that made the user has not seen to it that the address is theirs
	Name       string       `json:"name,omitempty"`
	Attributes Attributes   `json:"attributes,omitempty"`
	Password   PasswordHash `json:"-"`
	Header
}

// Private is the password's hash.
func (e UserCreated) Private() Private { return Private{Password: e.Password} }

// WithPrivate is the event with p for its private facts.
func (e UserCreated) WithPrivate(p Private) Event { e.Password = p.Password; return e }

// UserUpdated gave a user another name, address, or other attributes: these are all.
type UserUpdated struct {
	Email      *string     `json:"email,omitempty"`
	Name       *string     `json:"name,omitempty"`
	Attributes *Attributes `json:"attributes,omitempty"`
	Header
}

// UserDisabled ended all sessions of a user, who cannot log in until they are enabled, and whose
// keys are refused.
type UserDisabled struct{ Header }

// UserEnabled ended that.
type UserEnabled struct{ Header }

// UserRemoved ended a user for good.
type UserRemoved struct {
	Email string `json:"email"`
	Header
}

// AddressForgone says that an address which was claimed for a user, who was not created or changed
// in time, is not theirs. A creation or change that was decided before it conflicts with it. It can
// be the first event of a history, of a user who does not exist.
type AddressForgone struct {
	Email string `json:"email"`
	Header
}

// PasswordChanged gave a user a password, or another one, and ended their sessions.
type PasswordChanged struct {
	Reset    bool         `json:"reset,omitempty"` // by the token of a reset, which is used up with that
	IP       string       `json:"ip,omitempty"`    // of a reset: from where it came
	Kept     SessionID    `json:"kept_session_id,omitempty"`
	Password PasswordHash `json:"-"`
	Header
}

// Private is the password's hash.
func (e PasswordChanged) Private() Private { return Private{Password: e.Password} }

// WithPrivate is the event with p for its private facts.
func (e PasswordChanged) WithPrivate(p Private) Event { e.Password = p.Password; return e }

// PasswordResetRequested made a token with which the password can be set once.
type PasswordResetRequested struct {
	ExpiresAt time.Time `json:"expires_at"`
	Digest    Digest    `json:"-"`
	Header
}

// Private is the digest of the token.
func (e PasswordResetRequested) Private() Private { return Private{Digest: e.Digest} }

// WithPrivate is the event with p for its private facts.
func (e PasswordResetRequested) WithPrivate(p Private) Event { e.Digest = p.Digest; return e }

// SessionsRevoked ended all sessions of a user, but for one.
type SessionsRevoked struct {
	Kept SessionID `json:"kept_session_id,omitempty"`
	Header
}

// IdentityLinked lets a user log in by a provider.
type IdentityLinked struct {
	Identity
	Header
}

// IdentityUnlinked ended that.
type IdentityUnlinked struct {
	Identity
	Header
}

// CreateUser asks for a new user.
type CreateUser struct {
	Principalled
	ID         UserID
	Email      string // NormalEmail, and claimed; or Directory is set
	Directory  OrgID
	Unverified bool // the address
	Name       string
	Attributes Attributes
	Password   PasswordHash
}

// Create decides whether the user may come to be.
func (u User) Create(c CreateUser) (Event, error) {
	switch {
	case u.ID != "":
		return nil, ErrUserExists
	case c.By.Org != Installation:
		return nil, ErrOutOfReach
	case len(c.Attributes) > maxAttributes:
		return nil, InvalidField("attributes", "must have at most %d entries", maxAttributes)
	}
	return UserCreated{ID: c.ID, Email: c.Email, Directory: c.Directory, Unverified: c.Unverified, Name: c.Name, Attributes: c.Attributes, Password: c.Password, Header: c.header()}, nil
}

// UpdateUser asks for another name, address, or other attributes.
type UpdateUser struct {
	Principalled
	Email      *string // NormalEmail, and claimed
	Name       *string
	Attributes AttributeChanges
}

// Update decides whether the user may be changed. An address proves who one is, and keyspaces can
// require attributes: neither is for the user to say.
func (u User) Update(c UpdateUser) (Event, error) {
	if err := u.manageable(c.By); err != nil {
		return nil, err
	}
	attributes, err := u.Attributes.changed(c.Attributes)
	if err != nil {
		return nil, err
	}
	e := UserUpdated{Email: merge(&u.Email, c.Email, equal), Name: merge(&u.Name, c.Name, equal), Header: c.header()}
	if attributes != nil {
		e.Attributes = &attributes
	}
	if e.Email == nil && e.Name == nil && e.Attributes == nil {
		return nil, nil
	}
	return e, nil
}

// Forgo decides whether the user, who may not exist, has an address that was claimed for them, or may
// yet get it.
func (u User) Forgo(c Principalled, email string) (Event, error) {
	switch {
	case u.Status() == RemovedUser:
		return nil, nil // they get none any more
	case u.ID != "" && u.Email == email && u.Directory == "":
		return nil, ErrEmailTaken
	}
	return AddressForgone{Email: email, Header: c.header()}, nil
}

// Disable decides whether the user may be disabled.
func (u User) Disable(c Principalled) (Event, error) {
	if err := u.manageable(c.By); err != nil || u.Status() == DisabledUser {
		return nil, err
	}
	return UserDisabled{c.header()}, nil
}

// Enable decides whether the user may be enabled.
func (u User) Enable(c Principalled) (Event, error) {
	if err := u.manageable(c.By); err != nil || u.Status() == ActiveUser {
		return nil, err
	}
	return UserEnabled{c.header()}, nil
}

// Remove decides whether the user may be removed, which is final.
func (u User) Remove(c Principalled) (Event, error) {
	err := u.manageable(c.By)
	switch {
	case u.Status() == RemovedUser && c.By.Org == Installation:
		return nil, nil
	case err != nil:
		return nil, err
	}
	return UserRemoved{Email: u.Email, Header: c.header()}, nil
}

// manageable refuses who is not of the installation, and a user who is removed.
func (u *User) manageable(p Principal) error {
	if p.Org != Installation {
		return ErrUserNotFound
	}
	return u.changeable(p)
}

// changeable refuses who is neither of the installation nor the user, and a user who is removed.
func (u *User) changeable(p Principal) error {
	switch {
	case u.ID == "" || p.Org != Installation && p.User != u.ID:
		return ErrUserNotFound
	case p.Org != Installation && !p.IsOneself(u.ID):
		return ErrSSOSession
	case u.Status() == RemovedUser:
		return ErrUserRemoved
	}
	return nil
}

// ChangePassword asks for another password. Whether who asks knows the old one was found out before:
// hashing is not decided here.
type ChangePassword struct {
	Principalled
	Hash   PasswordHash
	Former PasswordHash // the hash that the old one was compared with; it must be the user's still
	Reset  *Digest      // of the token instead; nil: none
	IP     string       // from where the token came
	Kept   SessionID
}

// ChangePassword decides whether the user may get the password.
func (u User) ChangePassword(c ChangePassword) (Event, error) {
	if c.Reset != nil {
		if u.Status() != ActiveUser || u.Reset == nil || u.Reset.Digest != *c.Reset || !c.At.Before(u.Reset.ExpiresAt) {
			return nil, ErrResetInvalid
		}
		return PasswordChanged{Reset: true, IP: c.IP, Password: c.Hash, Header: Header{c.At, string(u.ID)}}, nil
	}
	if err := u.changeable(c.By); err != nil {
		return nil, err
	}
	if c.By.Org != Installation && u.Password != c.Former {
		return nil, ErrWrongPassword
	}
	return PasswordChanged{Password: c.Hash, Kept: c.Kept, Header: c.header()}, nil
}

// RequestReset decides whether a password can be reset. Only the service of the product may ask: it
// sends the token to the user's address.
func (u User) RequestReset(c Principalled, token Digest, expiresAt time.Time) (Event, error) {
	if c.By.Org != Installation || u.ID == "" {
		return nil, ErrUserNotFound
	}
	if u.Status() != ActiveUser {
		return nil, ErrUserRemoved
	}
	if u.ResetHour == hourOf(c.At) && u.Resets >= maxResets {
		return nil, ErrTooManyResets
	}
	return PasswordResetRequested{ExpiresAt: expiresAt, Digest: token, Header: c.header()}, nil
}

// maxResets is how many resets of a user are asked for in an hour at most: each is an event that stays,
// and a product asks on behalf of anyone who names an address. The last token is good meanwhile.
const maxResets = 10

func hourOf(t time.Time) int64 { return t.Unix() / 3600 }

// RevokeSessions decides whether all sessions of the user may end, but for one.
func (u User) RevokeSessions(c Principalled, kept SessionID) (Event, error) {
	if err := u.changeable(c.By); err != nil {
		return nil, err
	}
	return SessionsRevoked{Kept: kept, Header: c.header()}, nil
}

// maxIdentities is how many identities a user has at most.
const maxIdentities = 50

// LinkIdentity decides whether the user may log in by an identity. Each provider knows a user as one:
// of two of its people who are taken for the same at the same moment, the first is.
func (u User) LinkIdentity(c Principalled, i Identity) (Event, error) {
	switch {
	case u.Status() != ActiveUser:
		return nil, ErrUserNotFound
	case slices.Contains(u.Identities, i):
		return nil, nil
	case slices.ContainsFunc(u.Identities, func(other Identity) bool { return other.Org == i.Org && other.Issuer == i.Issuer }):
		return nil, ErrIdentityExists
	case len(u.Identities) >= maxIdentities:
		return nil, ErrTooManyIdentities
	}
	return IdentityLinked{i, c.header()}, nil
}

// UnlinkIdentity decides whether an identity may end.
func (u User) UnlinkIdentity(c Principalled, i Identity) (Event, error) {
	if err := u.changeable(c.By); err != nil || !slices.Contains(u.Identities, i) {
		return nil, err
	}
	return IdentityUnlinked{i, c.header()}, nil
}

// Apply moves u past e. It cannot fail and must not judge: e already happened.
func (u *User) Apply(e Event) {
	switch e := e.(type) {
	case AddressForgone:
		u.Forgone = u.ID == ""
	case UserCreated:
		*u = User{ID: e.ID, Email: e.Email, Directory: e.Directory, Name: e.Name, Attributes: e.Attributes, CreatedAt: e.At, CreatedBy: e.By, Password: e.Password}
	case UserUpdated:
		if e.Email != nil {
			u.Reset = nil // its token went to the address before
		}
		merge(&u.Email, e.Email, equal)
		merge(&u.Name, e.Name, equal)
		if e.Attributes != nil {
			u.Attributes = *e.Attributes
		}
	case UserDisabled:
		u.DisabledAt = e.At
		u.endSessions(e.At, "")
	case UserEnabled:
		u.DisabledAt = time.Time{}
	case UserRemoved:
		u.RemovedAt, u.Password, u.Identities, u.Reset = e.At, "", nil, nil
		u.endSessions(e.At, "")
	case PasswordChanged:
		u.Password, u.PasswordChangedAt, u.Reset = e.Password, e.At, nil
		u.endSessions(e.At, e.Kept)
	case PasswordResetRequested:
		u.Reset = &Reset{e.Digest, e.ExpiresAt}
		if hour := hourOf(e.At); hour != u.ResetHour {
			u.ResetHour, u.Resets = hour, 0
		}
		u.Resets++
	case SessionsRevoked:
		u.endSessions(e.At, e.Kept)
	case IdentityLinked:
		u.Identities = append(slices.Clone(u.Identities), e.Identity)
	case IdentityUnlinked:
		u.Identities = slices.DeleteFunc(slices.Clone(u.Identities), func(i Identity) bool { return i == e.Identity })
	}
}

func (u *User) endSessions(at time.Time, kept SessionID) {
	u.Ended = SessionsEnd{u.Ended.Number + 1, at, kept}
}
