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

// A Request is what every command has: who asks, and how to know the request again.
type Request struct {
	By          domain.Principal    `validate:"-"`
	CommandID   string              `validate:"-"` // "": a new one
	Fingerprint string              `validate:"-"` // of the request's content, "" if it has no Idempotency-Key
	Correlation string              `validate:"-"`
	IfMatch     eventstore.Position `validate:"-"` // the revision it is meant for, 0: any
}

func (r *Request) identify() {
	if r.CommandID == "" {
		r.CommandID = uuid.NewString()
	}
}

// A RequestIndex finds the request that a command id came with, for a day at least. Its
// answer may be stale: a request that it misses is found in the history of its aggregate,
// and one for another aggregate is then carried out as well, on a key with another id.
type RequestIndex interface {
	Request(commandID string) (fingerprint string, found bool, err error)
}

const rememberedFor = 24 * time.Hour

// maxRemembered bounds the memory for requests, at about 300 bytes each; tests lower it.
var maxRemembered = 20_000

// requests are those with an Idempotency-Key that this process carries out or has carried
// out: what the index does not have yet, and those that had nothing to change, which no
// event tells of.
type requests struct {
	index RequestIndex

	mu      sync.Mutex
	known   map[string]*request // by command id
	settled []settledRequest    // in the order in which they are forgotten
}

// A request is what one command id came with.
type request struct {
	fingerprint string
	running     int            // calls that carry it out
	settled     bool           // one wrote an event, may have, or had nothing to change
	unchanged   eventstore.Ref // where it had nothing to change
}

type settledRequest struct {
	commandID string
	at        time.Time
}

// once is decide for requests that may be repeated: another request under the same command
// id is refused, whatever aggregate it is about. It is looked for only if the aggregate's
// own history does not have the command, so that of two requests which raced on two nodes
// each finds what it did.
func once[A any, P aggregate[A]](ctx context.Context, h *Handler, ref eventstore.Ref, r Request, f func(A) (domain.Event, error)) (outcome[A], error) {
	if r.Fingerprint == "" {
		return decide[A, P](ctx, h, ref, r, f)
	}
	begun, settled, repeated := false, false, false
	o, err := decide[A, P](ctx, h, ref, r, func(state A) (domain.Event, error) {
		if !begun {
			var err error
			if repeated, err = h.requests.begin(r, ref); err != nil {
				return nil, err
			}
			begun = true
		}
		if repeated {
			return nil, nil
		}
		event, err := f(state)
		settled = settled || err == nil
		return event, err
	})
	if begun {
		h.requests.end(r.CommandID, ref, h.clock(), settled, err == nil && !o.changed)
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

// begin refuses r if its command id came with another request before, be it that this one
// is still being carried out. repeated tells that r itself came before, and had nothing to
// change. A successful begin is followed by end. The same request may run many times at
// once: bulk requests do, and of repeats the aggregate's expected position lets one write.
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

// end keeps a request that was carried out, and forgets one that was refused: it may be
// mended and sent again.
func (q *requests) end(commandID string, ref eventstore.Ref, now time.Time, settled, unchanged bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	known := q.known[commandID]
	known.running--
	if unchanged {
		known.unchanged = ref
	}
	if settled && !known.settled {
		known.settled = true
		q.settled = append(q.settled, settledRequest{commandID, now})
	}
	if known.running == 0 && !known.settled {
		delete(q.known, commandID)
	}
	for len(q.settled) > maxRemembered || len(q.settled) > 0 && now.Sub(q.settled[0].at) > rememberedFor {
		q.forget(q.settled[0].commandID)
		q.settled = q.settled[1:]
	}
}

func (q *requests) forget(commandID string) {
	known := q.known[commandID]
	if known.settled = false; known.running == 0 {
		delete(q.known, commandID)
	}
}

// withSecret hands out the secret only if it is one of the key's: another request with the
// same Idempotency-Key may have been quicker, and then the key has the other one's.
func withSecret(r KeyResult, secret domain.Secret) KeyResult {
	digest := secret.Digest()
	if slices.ContainsFunc(r.Key.Secrets, func(s domain.KeySecret) bool { return s.Digest == digest }) {
		r.Secret = secret
	} else {
		r.Replayed = true
	}
	return r
}
