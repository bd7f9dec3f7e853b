package commands

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// Idempotency: how a repeated request is recognised, where, and for how long.
//
// A request with an Idempotency-Key has a command id, which follows from its principal and
// that key, and a fingerprint of its content. A command id that comes again is a repeat if
// the fingerprint is the same, and refused if not. Both are looked for in three places:
//
//   - The history of the aggregate that the request is about (historySearch), for ever: they
//     are stored with the event. A created key or organization is found there, too: its id
//     follows from the command's.
//   - The RequestIndex of the read model, two days: every event's, whatever its aggregate.
//   - The memory of this process (requests), a day: what the index does not have yet, and
//     requests that had nothing to change, of which there is no event.
//
// A request that was refused is not remembered, so that it can be corrected and sent again.

// A Request is what every command has: its principal, and how to recognise the request.
type Request struct {
	By          domain.Principal    `validate:"-"`
	CommandID   string              `validate:"-"` // "": a new one
	Fingerprint string              `validate:"-"` // of the request's content, "" if it has no Idempotency-Key
	Correlation string              `validate:"-"`
	IfMatch     eventstore.Position `validate:"-"` // the revision it is meant for, 0: any
}

// identify gives a request without a command id a new one, which nothing else has. execute
// does so for every command; those that make an id of the command's do so before.
func (r *Request) identify() {
	if r.CommandID == "" {
		r.CommandID = uuid.NewString()
	}
}

// A historySearch looks for a request's command in the history of an aggregate.
type historySearch struct {
	found    bool // the command wrote an event
	mismatch bool // it did so for another request
}

// visit looks at the command of one record.
func (s *historySearch) visit(c eventstore.Command, r Request) {
	if c.ID == r.CommandID {
		s.found, s.mismatch = true, c.Fingerprint != r.Fingerprint
	}
}

// A RequestIndex finds the request that a command id came with, for two days. Its answer may
// be stale: a request that it misses is found in the history of its aggregate, and one for
// another aggregate is then carried out as well, on a key with another id.
type RequestIndex interface {
	Request(commandID string) (fingerprint string, found bool, err error)
}

// rememberedFor is how long the memory of this process keeps a request.
const rememberedFor = 24 * time.Hour

// maxRemembered bounds that memory, at about 300 bytes a request; tests lower it.
var maxRemembered = 20_000

// requests are those with an Idempotency-Key that this process carries out or remembers.
type requests struct {
	index RequestIndex

	mu    sync.Mutex
	known map[string]*request // by command id
	done  []doneRequest       // those that are remembered, the next to be forgotten first
}

// A request is what one command id came with.
type request struct {
	fingerprint string
	running     int            // calls that carry it out
	done        bool           // one wrote an event, may have, or had nothing to change
	unchanged   eventstore.Ref // the aggregate on which it had nothing to change
}

// A doneRequest is a request that was carried out, and when.
type doneRequest struct {
	commandID string
	at        time.Time
}

// executeOnce is execute for requests that may be repeated: another request under the same
// command id is refused, whatever aggregate it is about. It is looked for only if the
// aggregate's own history does not have the command, so that of two requests which raced on
// two nodes each finds what it did.
func executeOnce[A any, P aggregate[A]](ctx context.Context, h *Handler, ref eventstore.Ref, r Request, assumed *assumption[A], decide func(A) (domain.Event, error)) (result[A], error) {
	if r.Fingerprint == "" {
		return execute[A, P](ctx, h, ref, r, assumed, decide)
	}
	begun, done, repeated := false, false, false
	o, err := execute[A, P](ctx, h, ref, r, assumed, func(state A) (_ domain.Event, err error) {
		if !begun {
			repeated, err = h.requests.begin(r, ref)
			begun = err == nil
		}
		if repeated || err != nil {
			return nil, err
		}
		event, err := decide(state)
		done = done || err == nil
		return event, err
	})
	if begun {
		h.requests.end(r.CommandID, ref, h.clock(), done, err == nil && !o.changed)
	}
	o.replayed = o.replayed || repeated
	return o, err
}

// Reserve refuses r if its command id came with another request before, and keeps others from
// it until release is called: for a bulk request, which is carried out key by key.
func (h *Handler) Reserve(r Request) (release func(), err error) {
	if r.Fingerprint == "" {
		return func() {}, nil
	}
	_, err = h.requests.begin(r, eventstore.Ref{})
	return func() { h.requests.end(r.CommandID, eventstore.Ref{}, h.clock(), false, false) }, err
}

// begin refuses r if its command id came with another request, be it that this one is still
// being carried out. repeated tells that r itself came before, and had nothing to change.
// A successful begin is followed by end. Several calls may carry out the same request at
// once: a bulk request's do, and of repeats the aggregate's expected position lets one write.
func (q *requests) begin(r Request, ref eventstore.Ref) (repeated bool, err error) {
	fingerprint := r.Fingerprint
	if q.index != nil {
		indexed, found, err := q.index.Request(r.CommandID)
		if err != nil {
			return false, err
		}
		if found {
			fingerprint = indexed
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	known := q.known[r.CommandID]
	if known == nil {
		known = &request{fingerprint: fingerprint}
	}
	if known.fingerprint != r.Fingerprint {
		return false, domain.ErrIdempotencyMismatch
	}
	q.known[r.CommandID] = known
	known.running++
	return known.unchanged == ref, nil
}

// end remembers a request that was carried out, and forgets one that was refused.
func (q *requests) end(commandID string, ref eventstore.Ref, now time.Time, done, unchanged bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	known := q.known[commandID]
	known.running--
	if unchanged {
		known.unchanged = ref
	}
	if done && !known.done {
		known.done = true
		q.done = append(q.done, doneRequest{commandID, now})
	}
	q.dropIdle(commandID)
	for len(q.done) > maxRemembered || len(q.done) > 0 && now.Sub(q.done[0].at) > rememberedFor {
		oldest := q.done[0].commandID
		q.done = q.done[1:]
		q.known[oldest].done = false
		q.dropIdle(oldest)
	}
}

// dropIdle forgets a request that no call carries out and that is not remembered.
func (q *requests) dropIdle(commandID string) {
	known := q.known[commandID]
	if known.running == 0 && !known.done {
		delete(q.known, commandID)
	}
}

// withSecret puts the secret into the result of a command if it is one of the key's. It is not
// if an earlier or quicker request with the same Idempotency-Key made another one.
func withSecret(r KeyResult, secret domain.Secret) KeyResult {
	digest := secret.Digest()
	if slices.ContainsFunc(r.Key.Secrets, func(s domain.KeySecret) bool { return s.Digest == digest }) {
		r.Secret = secret
	} else {
		r.Replayed = true
	}
	return r
}
