package domain

// A Reader is a principal whose reading, and whose refused requests, are on record. It has a
// history and no state.
type Reader struct{}

// Apply moves r past e. It cannot fail and must not judge: e already happened.
func (*Reader) Apply(e Event) {
	switch e.(type) {
	case TrailRead, KeysRead, UsersRead, MembersRead, SessionsRead, AccessRefused: // which changed nothing
	}
}

// A Reading is what a principal read of the API.
type Reading struct {
	Route  string            `json:"route"`            // like GET /v1/keys; combined: several, or with several filters
	Filter map[string]string `json:"filter,omitempty"` // what the reader chose by, as it named it; long values are cut off
	Occurrences
}

// Operation is the route.
func (r Reading) Operation() string { return r.Route }

func (r Reading) with(o Occurrences) Reading { r.Occurrences = o; return r }

var combinedReading = Reading{Route: Combined}

// KeysRead says that a principal listed or read keys, their usage or an export of them: once, or
// since the last such event of the same route and filter. No secret was shown: see KeyRevealed.
type KeysRead struct{ Reading }

// UsersRead says that a principal listed or read users.
type UsersRead struct{ Reading }

// MembersRead says that a principal listed or read members of an organization, its roles or its
// invitations.
type MembersRead struct{ Reading }

// SessionsRead says that a principal listed or read sessions of others.
type SessionsRead struct{ Reading }

// With is the same read at other times.
func (e KeysRead) With(o Occurrences) Sum { return KeysRead{e.with(o)} }

// With is the same read at other times.
func (e UsersRead) With(o Occurrences) Sum { return UsersRead{e.with(o)} }

// With is the same read at other times.
func (e MembersRead) With(o Occurrences) Sum { return MembersRead{e.with(o)} }

// With is the same read at other times.
func (e SessionsRead) With(o Occurrences) Sum { return SessionsRead{e.with(o)} }

// Combined are reads of several kinds.
func (KeysRead) Combined() Sum { return KeysRead{combinedReading} }

// Combined are reads of several kinds.
func (UsersRead) Combined() Sum { return UsersRead{combinedReading} }

// Combined are reads of several kinds.
func (MembersRead) Combined() Sum { return MembersRead{combinedReading} }

// Combined are reads of several kinds.
func (SessionsRead) Combined() Sum { return SessionsRead{combinedReading} }

// AccessRefused says that a principal who is known was refused for its scope or its reach: once,
// or since the last such event of the same route and code. What was not found is told alike
// whether it is another organization's or does not exist.
type AccessRefused struct {
	Route string `json:"route"`           // like GET /v1/keys/{id}; combined: several
	Scope string `json:"scope,omitempty"` // that the route needs
	Code  string `json:"code,omitempty"`  // of the refusal, like scope_missing or key_not_found
	Occurrences
}

// With is the same refusal at other times.
func (e AccessRefused) With(o Occurrences) Sum { e.Occurrences = o; return e }

// Operation is the route.
func (e AccessRefused) Operation() string { return e.Route }

// Combined are refusals of several kinds.
func (AccessRefused) Combined() Sum { return AccessRefused{Route: Combined} }
