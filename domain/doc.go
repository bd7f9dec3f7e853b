// Package domain says what may happen to an API key and what is remembered of it.
//
// It is pure: standard library only, no I/O, no clock, no randomness, no logging.
// Time, identifiers and digests come in with the command. Each aggregate (Key,
// Organization) has decisions, value-receiver methods from state and command to at
// most one Event or an *Error, and one Apply, a pointer-receiver method that moves the
// state past an event and cannot fail. A decision that finds nothing to change returns
// a nil Event and a nil error, and nothing is written.
package domain
