package api

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// auditScope is what a reader of events needs, for as long as it reads.
const auditScope = "audit:read"

// eventStream is the content type of Server-Sent Events.
const eventStream = "text/event-stream"

// events answers a page; with Accept: application/x-ndjson, all there is up to now, an
// event a line; with text/event-stream, what there is and then what comes.
func (s *server) events(w http.ResponseWriter, r *http.Request, p domain.Principal) error {
	q, err := s.parseEvents(r, p)
	if err != nil {
		return err
	}
	accept := r.Header.Get("Accept")
	replay, follow := strings.Contains(accept, "application/x-ndjson"), strings.Contains(accept, eventStream)
	if replay || follow || q.wait > 0 {
		done, err := s.acquireStream(w, p)
		if err != nil {
			return err
		}
		defer done()
		if err := s.trail.Check(r.Context(), q.cursor); err != nil {
			return err
		}
	}
	access := domain.AccessPage
	switch {
	case replay:
		access = domain.AccessReplay
	case follow:
		access = domain.AccessFollow
	}
	if err := s.readTrail(r.Context(), p, q.read(access)); err != nil {
		return err
	}
	switch {
	case replay:
		return s.replayEvents(w, r, p, q)
	case follow:
		s.followEvents(w, r, p, q)
	default:
		return s.pageEvents(w, r, p, q)
	}
	return nil
}

// whileServing is ctx until the service stops.
func (s *server) whileServing(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	unhook := context.AfterFunc(s.Stopping, cancel)
	return ctx, func() { unhook(); cancel() }
}

// stillMayRead refuses to go on for a caller whose key was revoked, disabled, narrowed or
// expired since the request began. Before the events of a page are sent it waits a moment for
// the read model to have them: what came after a revocation is not sent to the revoked key.
func (s *server) stillMayRead(r *http.Request, page eventstore.Page) error {
	if len(page.Entries) > 0 {
		ctx, cancel := context.WithTimeout(r.Context(), maxLag)
		defer cancel()
		_ = s.Store.WaitFor(ctx, page.Next.At[eventstore.Events]) // a read model that has stopped does not close the trail
	}
	auth, err := s.authRequest(r, auditScope)
	if err != nil {
		return err
	}
	return s.Verifier.StillMay(auth)
}

const (
	followLimit = 100         // events that a follower takes at once: a thousand of them hold that many each
	maxLag      = time.Second // how long events wait for the read model to have them
)

var (
	recheckEvery   = 5 * time.Second  // how often a waiting caller's key is checked
	keepAliveEvery = 15 * time.Second // how long a follower's connection is silent at most
)

func (s *server) documentEvents() description {
	answer := s.jsonAnswer(eventPage{})
	answer["application/x-ndjson"] = &huma.MediaType{Schema: &huma.Schema{Type: "string", Description: "All events up to now, one a line."}}
	answer[eventStream] = &huma.MediaType{Schema: &huma.Schema{Type: "string", Description: "Events as they come; Last-Event-ID goes on behind one."}}
	limit := intSchema(1, 1000)
	limit.Default = 100
	order := oneOf([]string{"asc", "desc"})
	order.Default = "asc"
	return description{summary: "Read, replay or follow the ledger's events", details: "Accept chooses a page, a replay or a stream.", answer: answer,
		parameters: []*huma.Param{queryParam("org_id", "Of this organization.", textSchema()), queryParam("key_id", "Of this key.", textSchema()),
			queryParam("type", "Of these types, one by one or with commas.", listSchema(eventType("").Schema(nil))),
			queryParam("actor", "By this principal.", textSchema()),
			queryParam("code", "Uses with these outcomes, one by one or with commas.", listSchema(outcome("").Schema(nil))),
			queryParam("ip", "Uses from this address or network.", textSchema()),
			queryParam("resource", "Uses for this, like GET /v1/orders; a path alone is of any method; with * at its end it is a beginning.", textSchema()),
			queryParam("from", "From this time on.", timeSchema()), queryParam("to", "Before this time.", timeSchema()),
			queryParam("order", "Oldest or newest first. What is waited for or followed is asc.", order),
			queryParam("cursor", "The next_cursor of the page before, in the same order.", textSchema()), queryParam("limit", "Events in a page.", limit),
			queryParam("wait", "How long a page that would be empty waits for an event, up to 60s.", textSchema()),
			afterParam("Wait until the read model has this position, which was the Keytrail-Position of a write's answer."),
			headerParam("Last-Event-ID", "Go on behind this event; it comes before cursor.")}}
}
