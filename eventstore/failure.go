package eventstore

import (
	"errors"
	"slices"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/keytrail/keytrail/domain"
)

// A Failure is what an error of the ledger means for what was asked of it. Errors are
// classified here alone: no other file knows an error code of NATS.
type Failure uint8

// The failures of an append. For a question, Unknown and Unavailable are the same.
const (
	Unknown     Failure = iota // no answer: it may have been written; load and look for the command's id
	Conflict                   // not written: the aggregate moved on, or another append to it is under way
	Unavailable                // not written: nothing takes it at the moment
	Refused                    // not written, and not if it is repeated either
)

func (f Failure) String() string {
	return [...]string{"unknown", "conflict", "unavailable", "refused"}[f]
}

// The refusals of the ledger itself.
var (
	ErrConflict       = errors.New("the aggregate moved on: nothing was written")
	ErrNoSuchPosition = errors.New("the ledger holds nothing at that position")
)

// failed is an error with its class.
type failed struct {
	failure Failure
	cause   error
}

func (e *failed) Error() string { return "ledger: " + e.cause.Error() }

// Unwrap makes it ErrConflict or domain.ErrLedgerUnavailable to callers, and keeps the cause for the
// log. What was refused on this side of the connection is neither: it is a fault of ours.
func (e *failed) Unwrap() []error {
	switch {
	case e.failure == Conflict:
		return []error{ErrConflict, e.cause}
	case e.failure == Refused && !errors.As(e.cause, new(*jetstream.APIError)):
		return []error{e.cause}
	}
	return []error{domain.ErrLedgerUnavailable, e.cause}
}

// FailureOf classifies an error of a Ledger's method.
func FailureOf(err error) Failure {
	var f *failed
	var refusal *domain.Error
	switch {
	case errors.As(err, &f):
		return f.failure
	case errors.As(err, &refusal):
		return Refused // by Suspended or a check of ours
	}
	return Unknown
}

// classify gives an error of the client library or the server its class.
func classify(err error) error {
	var api *jetstream.APIError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &api):
		return &failed{failureOfAPI(api), err}
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrNoStreamResponse), errors.Is(err, nats.ErrReconnectBufExceeded),
		errors.Is(err, nats.ErrConnectionReconnecting), errors.Is(err, nats.ErrConnectionClosed):
		return &failed{Unavailable, err}
	case errors.Is(err, nats.ErrMaxPayload), errors.Is(err, nats.ErrBadSubject), errors.Is(err, nats.ErrHeadersNotSupported):
		return &failed{Refused, err}
	}
	return &failed{Unknown, err}
}

// Error codes of the server that the client library has no names for.
const (
	codeMemoryExceeded   jetstream.ErrorCode = 10028
	codeStorageExceeded  jetstream.ErrorCode = 10047
	codeStoreFailed      jetstream.ErrorCode = 10077
	codeDuplicateRunning jetstream.ErrorCode = 10158 // another try of the same message is under way
)

// failureOfAPI classifies an answer of the server. Its statuses from 500 mean that it, or
// the cluster, is not ready: 10008, 10118 and 10163 are given while a leader is elected.
func failureOfAPI(e *jetstream.APIError) Failure {
	switch {
	case isConflict(e):
		return Conflict
	case e.ErrorCode == codeStoreFailed:
		return Unknown
	case e.ErrorCode == codeDuplicateRunning:
		return Unavailable
	case e.Code < 500, slices.Contains([]jetstream.ErrorCode{codeMemoryExceeded, codeStorageExceeded}, e.ErrorCode):
		return Refused
	}
	return Unavailable
}

// isConflict recognises both codes of a lost race, one of which only replicated streams give.
func isConflict(e *jetstream.APIError) bool {
	return e.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || e.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant
}
