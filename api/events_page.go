package api

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// pageEvents answers with the events behind a cursor, up to a limit. A page has its slot until its
// client has taken it, a long poll while it does not wait.
func (s *server) pageEvents(w http.ResponseWriter, r *http.Request, p domain.Principal, q eventQuery) error {
	release, err := s.admission.acquireFor(r.Context(), &s.admission.pages, p.Org)
	if err != nil {
		return err
	}
	defer release()
	page, err := s.trail.Page(r.Context(), q.filter, q.cursor, q.limit)
	if err == nil && len(page.Entries) == 0 && q.wait > 0 {
		release()
		q.cursor = page.Next
		page, err = s.waitForEvents(r, p, q)
	}
	if err != nil {
		return err
	}
	items := make([]json.RawMessage, len(page.Entries))
	for i, e := range page.Entries {
		if items[i], err = e.CloudEvent(); err != nil {
			return err
		}
	}
	writeJSON(w, map[string]any{"items": items, "next_cursor": page.Next.String(), "at_end": page.AtEnd})
	return nil
}

// waitForEvents is a long poll: it waits for an event, up to q.wait. When the service stops, the
// empty page has the cursor to go on from.
func (s *server) waitForEvents(r *http.Request, p domain.Principal, q eventQuery) (eventstore.Page, error) {
	ctx, done := s.whileServing(r.Context())
	defer done()
	subscription := s.trail.Subscribe(p.Org, q.filter, q.cursor)
	defer subscription.Close()
	for end := time.Now().Add(q.wait); ; {
		until := time.Now().Add(recheckEvery)
		if end.Before(until) {
			until = end
		}
		page, err := subscription.Next(ctx, until, min(q.limit, followLimit))
		if err == nil {
			err = s.stillMayRead(r, page)
		}
		if err != nil || len(page.Entries) > 0 || ctx.Err() != nil || !time.Now().Before(end) {
			return page, err
		}
	}
}

// eventPage is what pageEvents writes.
type eventPage struct {
	Items      []eventShape `json:"items"`
	NextCursor string       `json:"next_cursor" doc:"Where the next page begins, also at the end. A page may have fewer events than the limit and not be at the end."`
	AtEnd      bool         `json:"at_end" doc:"Nothing that matches lay beyond this page when it was made."`
}

// eventShape is a CloudEvent as eventstore.Record writes it.
type eventShape struct {
	SpecVersion     string       `json:"specversion"`
	ID              string       `json:"id" doc:"The same in NATS and over HTTP: the id of the message and, of a use, its index in it."`
	Source          string       `json:"source"`
	Type            eventType    `json:"type"`
	Subject         string       `json:"subject,omitempty" doc:"The key's or the organization's id."`
	Time            string       `json:"time" format:"date-time"`
	DataContentType string       `json:"datacontenttype"`
	Position        string       `json:"position" doc:"The place in its stream: 17, or 17.3 for a use."`
	Org             domain.OrgID `json:"orgid"`
	Actor           string       `json:"actor,omitempty"`
	Correlation     string       `json:"correlationid,omitempty"`
	Node            string       `json:"node,omitempty" doc:"Of a use: the node that decided it."`
	Decided         string       `json:"decided,omitempty" doc:"Of a use: the position of the events at which it was decided."`
	Private         string       `json:"private,omitempty" doc:"Binds the event to facts of it that only the service reads."`
	Data            any          `json:"data" doc:"By type; docs/events.md has a JSON Schema of each."`
}
