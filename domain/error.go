package domain

import "time"

// A Kind is the class of a refusal, by what would have to change for it to pass. The zero
// Kind is Internal, so that an error which was not classified tells the outside nothing.
type Kind int

// The kinds of refusal, in the order of the HTTP statuses that they become.
const (
	Internal Kind = iota
	Invalid
	Unauthenticated
	Forbidden
	NotFound
	Conflict
	Stale  // the caller's If-Match names an older revision
	Reused // the Idempotency-Key came before with another request
	TooLarge
	Exhausted
	Unavailable
)

// An Error is a refusal, see the table in refusals.go. It never holds a secret or a digest.
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

// Final reports whether the same request would be refused again: what must change is not the service.
func (e *Error) Final() bool { return e.Kind != Internal && e.Kind != Unavailable }

// Is makes errors.Is compare refusals by kind and code, so that a refusal which crossed
// the wire, or which names another field, is still the same refusal.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Kind == e.Kind && t.Code == e.Code
}
