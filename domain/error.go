package domain

import (
	"fmt"
	"time"
)

// A Kind says who can do something about a refusal. The zero Kind is Internal, so that
// an error nobody classified tells the outside nothing.
type Kind int

// The kinds of refusal, in the order of the HTTP statuses that they become.
const (
	Internal Kind = iota
	Invalid
	Unauthenticated
	Forbidden
	NotFound
	Conflict
	Stale // the caller's If-Match names an older revision
	Mismatch
	Exhausted
	Unavailable
)

// An Error is a refusal. It never holds a secret or a digest.
type Error struct {
	Kind  Kind
	Code  string        // stable, machine-readable, part of the API
	Field string        // the JSON field or parameter at fault, "" if none
	Text  string        // one sentence for a person that says what to do
	Wait  time.Duration // until it is of use to try again; 0: not known
}

func (e *Error) Error() string {
	if e.Field != "" {
		return e.Field + ": " + e.Text
	}
	return e.Text
}

// Is makes errors.Is compare refusals by kind and code, so that a refusal which crossed
// the wire, or which names another field, is still the same refusal.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Kind == e.Kind && t.Code == e.Code
}

// The refusals that more than one place needs to recognise.
var (
	ErrKeyNotFound          = &Error{Kind: NotFound, Code: "key_not_found", Text: "there is no such key within your reach"}
	ErrOrganizationNotFound = &Error{Kind: NotFound, Code: "organization_not_found", Text: "there is no such organization within your reach"}
	ErrKeyRevoked           = &Error{Kind: Conflict, Code: "key_revoked", Text: "the key is revoked, which is final; create a new key"}
	ErrKeyExpired           = &Error{Kind: Conflict, Code: "key_expired", Text: "the key has expired; create a new key"}
	ErrKeyExists            = &Error{Kind: Conflict, Code: "key_exists", Text: "a key with this digest exists already"}
	ErrOrganizationExists   = &Error{Kind: Conflict, Code: "organization_exists", Text: "the organization exists already"}
	ErrRevisionStale        = &Error{Kind: Stale, Code: "revision_stale", Text: "it was changed since the revision in If-Match; read it again and repeat"}
	ErrIdempotencyMismatch  = &Error{Kind: Mismatch, Code: "idempotency_key_reused", Text: "this Idempotency-Key came before with another request; use a new one"}
	ErrKeyringMismatch      = &Error{Kind: Conflict, Code: "keyring_mismatch", Text: "the installation has another keyring"}
	ErrRootKeyProtected     = &Error{Kind: Conflict, Code: "root_key_protected", Text: "the root key can be rotated, but not revoked, disabled, narrowed or made to expire; whoever runs the service can replace it with keytrail root-key reset"}
	ErrScopeEscalation      = &Error{Kind: Forbidden, Code: "scope_escalation", Text: "a management key can be given, or changed by, only scopes that you hold yourself"}
	ErrOutOfReach           = &Error{Kind: Forbidden, Code: "organization_out_of_reach", Text: "your key serves another organization"}
)

// ScopeMissing is the refusal of a caller whose key lacks scope.
func ScopeMissing(scope string) error {
	return &Error{Kind: Forbidden, Code: "scope_missing", Text: "your key lacks the scope " + scope}
}

// invalid is the refusal of one field's content; text says what is allowed.
func invalid(field, text string, args ...any) *Error {
	return &Error{Kind: Invalid, Code: "invalid_field", Field: field, Text: fmt.Sprintf(text, args...)}
}
