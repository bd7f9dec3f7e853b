package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// An eventFilter is which events a caller asked for, within their reach.
type eventFilter struct {
	org      domain.OrgID // "": every one
	key      domain.KeyID
	ref      *eventstore.Ref // the key's own subject, if its organization is known
	types    []string
	actor    string
	from, to time.Time
}

func (f *eventFilter) matches(r *eventstore.Record) bool {
	return (f.key == "" || r.Subject == string(f.key)) && (f.types == nil || slices.Contains(f.types, r.Event.EventType())) &&
		(f.actor == "" || r.Actor == f.actor) && (f.from.IsZero() || !r.Time.Before(f.from)) && (f.to.IsZero() || r.Time.Before(f.to))
}

// An eventCursor is how far a caller has read both streams: all of a stream up to and
// with At, and of a message of uses up to and with Index.
type eventCursor struct {
	At    [2]eventstore.Position `json:"p"`
	Index int                    `json:"i"`
}

var errEventCursor = invalidField("cursor", "must be a next_cursor, or the id of a followed event, that this service gave")

func parseEventCursor(s string) (c eventCursor, err error) {
	if s == "" {
		return c, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(s) > 200 || json.Unmarshal(b, &c) != nil || c.Index < 0 || c.At[0] > 1<<62 || c.At[1] > 1<<62 {
		return eventCursor{}, errEventCursor
	}
	return c, nil
}

func (c eventCursor) String() string {
	b, _ := json.Marshal(c) // numbers alone
	return base64.RawURLEncoding.EncodeToString(b)
}

func (c eventCursor) passed(r *eventstore.Record) bool {
	at := c.At[r.Stream]
	return r.Position < at || r.Position == at && (r.Stream == eventstore.Events || r.Index <= c.Index)
}

func (c *eventCursor) move(r *eventstore.Record) {
	c.At[r.Stream] = r.Position
	if r.Stream == eventstore.Uses {
		c.Index = r.Index
	}
}

// An eventQuery is one request for events.
type eventQuery struct {
	eventFilter
	cursor eventCursor
	limit  int
	wait   time.Duration
}

var eventParameters = []string{"org_id", "key_id", "type", "actor", "from", "to", "cursor", "limit", "wait", "after"}

func (s *server) parseEvents(r *http.Request, p domain.Principal) (q eventQuery, err error) {
	v := r.URL.Query()
	for name, values := range v {
		switch {
		case !slices.Contains(eventParameters, name):
			return q, invalidField(clip(name), "is not a parameter here; they are "+strings.Join(eventParameters, ", "))
		case len(values) > 1 && name != "type":
			return q, errRepeated(name)
		}
	}
	if q.org, err = within(p, v.Get("org_id")); err != nil {
		return q, err
	}
	if q.org == domain.Installation && v.Get("org_id") == "" {
		q.org = ""
	}
	if v.Has("after") {
		after, err := strconv.ParseUint(v.Get("after"), 10, 64)
		if err != nil {
			return q, errAfter
		}
		if err := s.caughtUp(r.Context(), AfterParam{after}); err != nil {
			return q, err
		}
	}
	if v.Has("key_id") {
		if q.key, err = domain.ParseKeyID(v.Get("key_id")); err != nil {
			return q, invalidField("key_id", "must be a key's id")
		}
		if k, err := s.Store.Key(q.key); err == nil && p.Reaches(k.Org) && (q.org == "" || q.org == k.Org) {
			ref := eventstore.KeyRef(k.Org, q.key)
			q.org, q.ref = k.Org, &ref
		}
	}
	if v.Has("type") {
		q.types = strings.Split(strings.Join(v["type"], ","), ",")
		for _, t := range q.types {
			if !slices.Contains(eventTypes, t) {
				return q, invalidField("type", "must be one or more of "+strings.Join(eventTypes, ", ")+", with commas")
			}
		}
	}
	q.actor = v.Get("actor")
	return q, q.parseRange(r)
}

// eventTypes are the values of the parameter type.
var eventTypes = func() (names []string) {
	for _, e := range domain.Events {
		names = append(names, e.EventType())
	}
	return names
}()

func (q *eventQuery) parseRange(r *http.Request) (err error) {
	v := r.URL.Query()
	for name, at := range map[string]*time.Time{"from": &q.from, "to": &q.to} {
		if v.Has(name) {
			if *at, err = time.Parse(time.RFC3339, v.Get(name)); err != nil {
				return invalidField(name, "must be a time like 2026-01-31T12:00:00Z")
			}
		}
	}
	from := v.Get("cursor")
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		from = last
	}
	if q.cursor, err = parseEventCursor(from); err != nil {
		return err
	}
	q.limit = 100
	if v.Has("limit") {
		if q.limit, err = strconv.Atoi(v.Get("limit")); err != nil || q.limit < 1 || q.limit > 1000 {
			return invalidField("limit", "must be a whole number from 1 to 1000")
		}
	}
	if v.Has("wait") {
		if q.wait, err = time.ParseDuration(v.Get("wait")); err != nil || q.wait < 0 || q.wait > time.Minute {
			return invalidField("wait", "must be a duration from 0s to 60s")
		}
	}
	return nil
}

// events answers a page; with Accept: application/x-ndjson, all there is up to now, an
// event a line; with text/event-stream, what there is and then what comes.
func (s *server) events(w http.ResponseWriter, r *http.Request, p domain.Principal) {
	q, err := s.parseEvents(r, p)
	if err != nil {
		s.problem(w, r, err)
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.Stopping, cancel)()
	r = r.WithContext(ctx)
	accept := r.Header.Get("Accept")
	replay, follow := strings.Contains(accept, "application/x-ndjson"), strings.Contains(accept, "text/event-stream")
	if replay || follow || q.wait > 0 {
		done, err := s.stream(w, p)
		if err != nil {
			s.problem(w, r, err)
			return
		}
		defer done()
	}
	switch {
	case replay:
		s.replayEvents(w, r, q)
	case follow:
		s.followEvents(w, r, q)
	default:
		s.pageEvents(w, r, q)
	}
}

func (s *server) pageEvents(w http.ResponseWriter, r *http.Request, q eventQuery) {
	page, more, err := s.waitForEvents(r.Context(), &q)
	if err != nil {
		s.problem(w, r, err)
		return
	}
	items := make([]json.RawMessage, len(page))
	for i := range page {
		if items[i], err = page[i].CloudEvent(); err != nil {
			s.problem(w, r, err)
			return
		}
	}
	writeJSON(w, map[string]any{"items": items, "next_cursor": q.cursor.String(), "at_end": !more})
}

// waitForEvents is nextEvents; if there are none, it waits for some, up to q.wait.
func (s *server) waitForEvents(ctx context.Context, q *eventQuery) (page []eventstore.Record, more bool, err error) {
	deadline := time.Now().Add(q.wait)
	for {
		page, more, err = s.nextEvents(ctx, q, [2]eventstore.Position{})
		if err != nil || len(page) > 0 || !time.Now().Before(deadline) {
			return page, more, err
		}
		if more {
			continue
		}
		if err := s.newEvent(ctx, q, deadline); err != nil {
			return nil, false, err
		}
		if ctx.Err() != nil {
			return nil, true, nil // the service stops: the empty page tells where to go on
		}
	}
}

// newEvent returns when either stream has something after the cursor, or at the deadline.
func (s *server) newEvent(ctx context.Context, q *eventQuery, deadline time.Time) error {
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	news := errors.New("there is one")
	done := make(chan error, 2)
	for _, stream := range []eventstore.Stream{eventstore.Events, eventstore.Uses} {
		go func() {
			done <- s.Ledger.Read(ctx, q.read(stream, true), func(b eventstore.Batch) error {
				for i := range b.Records {
					if !q.cursor.passed(&b.Records[i]) {
						return news
					}
				}
				return nil
			})
		}()
	}
	err := <-done
	over := ctx.Err() != nil
	cancel()
	<-done
	if errors.Is(err, news) || over {
		return nil
	}
	return err
}

func (q *eventQuery) read(stream eventstore.Stream, live bool) eventstore.Query {
	query := eventstore.Query{Stream: stream, After: q.cursor.At[stream], Org: q.org, Live: live}
	if stream == eventstore.Events {
		query.Ref = q.ref
	} else if query.After > 0 {
		query.After-- // the message that the cursor points into may hold more
	}
	if !q.from.IsZero() {
		query.Since = q.from.Add(-time.Minute) // what is stored late is not missed
	}
	return query
}

// maxScanned bounds the records that one page looks at.
const maxScanned = 20_000

// nextEvents reads the next page of both streams, merged by when they were stored, and
// moves the cursor behind it. more tells that the page ended before the streams did. A
// position in until, if not 0, is the end of its stream.
func (s *server) nextEvents(ctx context.Context, q *eventQuery, until [2]eventstore.Position) (page []eventstore.Record, more bool, err error) {
	var tails [2]tail
	for i := range tails {
		if tails[i], err = s.tail(ctx, q, eventstore.Stream(i), until[i]); err != nil {
			return nil, false, err
		}
	}
	for len(page) < q.limit {
		t := earlier(&tails[0], &tails[1])
		if t == nil {
			break
		}
		page = append(page, t.records[0])
		q.cursor.move(&t.records[0])
		t.records = t.records[1:]
	}
	for i := range tails {
		t := &tails[i]
		if len(t.records) > 0 {
			more = true
		} else if t.scanned > 0 && !q.cursor.passed(&t.last) {
			q.cursor.move(&t.last) // what did not match needs no second look
		}
		more = more || t.cut
	}
	return page, more, nil
}

// A tail is what one stream has next.
type tail struct {
	records []eventstore.Record // those that match
	scanned int                 // how many were looked at
	last    eventstore.Record   // of those
	cut     bool                // there is more after it
}

// earlier is the tail whose next record comes first. Nothing comes while a stream that was
// cut has no record left: it may still have an earlier one.
func earlier(a, b *tail) *tail {
	switch {
	case len(a.records) == 0 && a.cut, len(b.records) == 0 && b.cut:
		return nil
	case len(a.records) == 0 && len(b.records) == 0:
		return nil
	case len(a.records) == 0:
		return b
	case len(b.records) == 0 || !b.records[0].Stored.Before(a.records[0].Stored):
		return a
	}
	return b
}

func (s *server) tail(ctx context.Context, q *eventQuery, stream eventstore.Stream, until eventstore.Position) (t tail, err error) {
	full := errors.New("full")
	err = s.Ledger.Read(ctx, q.read(stream, false), func(b eventstore.Batch) error {
		for i := range b.Records {
			r := &b.Records[i]
			if q.cursor.passed(r) || until != 0 && r.Position > until {
				continue
			}
			if len(t.records) == q.limit || t.scanned == maxScanned {
				t.cut = true
				return full
			}
			if t.scanned++; q.matches(r) {
				t.records = append(t.records, *r)
			}
			t.last = *r
		}
		return nil
	})
	if errors.Is(err, full) {
		err = nil
	}
	return t, err
}

func (s *server) replayEvents(w http.ResponseWriter, r *http.Request, q eventQuery) {
	var until [2]eventstore.Position
	for i := range until {
		end, err := s.Ledger.End(r.Context(), eventstore.Stream(i))
		if err != nil {
			s.problem(w, r, err)
			return
		}
		until[i] = max(end, 1)
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	q.limit = 1000
	for {
		page, more, err := s.nextEvents(r.Context(), &q, until)
		if err != nil {
			s.abort(r, err)
		}
		for i := range page {
			line, err := page[i].CloudEvent()
			if err != nil {
				s.abort(r, err)
			}
			if _, err := w.Write(append(line, '\n')); err != nil {
				return
			}
		}
		if !more {
			return
		}
	}
}

// abort breaks a stream off, so that its reader knows it is not whole.
func (s *server) abort(r *http.Request, err error) {
	if r.Context().Err() == nil {
		s.Logger.ErrorContext(r.Context(), "stream broken off", "request_id", requestID(r.Context()), "err", err)
	}
	panic(http.ErrAbortHandler)
}

// followEvents never ends by itself. The id of each event is the cursor behind it, so that
// a reader who comes back with Last-Event-ID misses none.
func (s *server) followEvents(w http.ResponseWriter, r *http.Request, q eventQuery) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	control := http.NewResponseController(w)
	q.limit, q.wait = 100, 15*time.Second
	for {
		at := q.cursor
		if control.Flush() != nil {
			return
		}
		page, _, err := s.waitForEvents(r.Context(), &q)
		if err != nil || r.Context().Err() != nil {
			return
		}
		text := []byte(": nothing new\n\n")
		if len(page) > 0 {
			text = nil
		}
		for i := range page {
			event, err := page[i].CloudEvent()
			if err != nil {
				return
			}
			at.move(&page[i])
			text = append(text, "id: "+at.String()+"\nevent: "+page[i].Event.EventType()+"\ndata: "...)
			text = append(append(text, event...), "\n\n"...)
		}
		if _, err := w.Write(text); err != nil {
			return
		}
	}
}
