package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// An eventQuery is one request for events, within its caller's reach.
type eventQuery struct {
	filter eventstore.Filter
	cursor eventstore.Cursor
	limit  int
	wait   time.Duration
}

// auditScope is what a reader of events needs, for as long as it reads.
const auditScope = "audit:read"

var eventParameters = []string{"org_id", "key_id", "type", "actor", "from", "to", "cursor", "limit", "wait", "after"}

func (s *server) parseEvents(r *http.Request, p domain.Principal) (q eventQuery, err error) {
	v := r.URL.Query()
	for name, values := range v {
		switch {
		case !slices.Contains(eventParameters, name):
			return q, domain.InvalidField(clip(name), "is not a parameter here; they are "+strings.Join(eventParameters, ", "))
		case len(values) > 1 && name != "type":
			return q, errRepeated(name)
		}
	}
	if q.filter.Reach, err = reachOf(p, v.Get("org_id")); err != nil {
		return q, err
	}
	if v.Has("after") {
		after, err := parseAfter(v.Get("after"))
		if err == nil {
			err = s.caughtUp(r.Context(), after)
		}
		if err != nil {
			return q, err
		}
	}
	if v.Has("key_id") {
		if q.filter.Key, err = domain.ParseKeyID(v.Get("key_id")); err != nil {
			return q, domain.InvalidField("key_id", "must be a key's id")
		}
		if k, err := s.Store.Key(q.filter.Key); err == nil && q.filter.Reach.All {
			q.filter.Reach = domain.Only(k.Org) // its subject alone is read
		}
	}
	if v.Has("type") {
		q.filter.Types = strings.Split(strings.Join(v["type"], ","), ",")
		for _, t := range q.filter.Types {
			if !slices.Contains(eventTypes, t) {
				return q, domain.InvalidField("type", "must be one or more of "+strings.Join(eventTypes, ", ")+", with commas")
			}
		}
	}
	q.filter.Actor = v.Get("actor")
	return q, q.parseRange(r)
}

// eventTypes are the values of the parameter type.
var eventTypes = func() (names []string) {
	for _, t := range domain.EventTypes {
		names = append(names, t.Name)
	}
	return names
}()

func (q *eventQuery) parseRange(r *http.Request) (err error) {
	v := r.URL.Query()
	for name, at := range map[string]*time.Time{"from": &q.filter.From, "to": &q.filter.To} {
		if v.Has(name) {
			if *at, err = time.Parse(time.RFC3339, v.Get(name)); err != nil {
				return domain.InvalidField(name, "must be a time like 2026-01-31T12:00:00Z")
			}
		}
	}
	from := v.Get("cursor")
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		from = last
	}
	if q.cursor, err = eventstore.ParseCursor(from); err != nil {
		return domain.InvalidField("cursor", "must be a next_cursor, or the id of a followed event, that this service gave")
	}
	q.limit = 100
	if v.Has("limit") {
		if q.limit, err = strconv.Atoi(v.Get("limit")); err != nil || q.limit < 1 || q.limit > 1000 {
			return domain.InvalidField("limit", "must be a whole number from 1 to 1000")
		}
	}
	if v.Has("wait") {
		if q.wait, err = time.ParseDuration(v.Get("wait")); err != nil || q.wait < 0 || q.wait > time.Minute {
			return domain.InvalidField("wait", "must be a duration from 0s to 60s")
		}
	}
	return nil
}

// events answers a page; with Accept: application/x-ndjson, all there is up to now, an
// event a line; with text/event-stream, what there is and then what comes.
func (s *server) events(w http.ResponseWriter, r *http.Request, p domain.Principal) {
	q, err := s.parseEvents(r, p)
	if err == nil {
		err = s.trail.Check(r.Context(), q.cursor)
	}
	if err != nil {
		s.problem(w, r, err)
		return
	}
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

// whileServing is ctx, and ends too when the service stops.
func (s *server) whileServing(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	unhook := context.AfterFunc(s.Stopping, cancel)
	return ctx, func() { unhook(); cancel() }
}

// mayRead is nil as long as the caller of a request that goes on may read events: a key that
// was revoked, disabled, narrowed or expired since is refused. It is asked before the events
// of a page are sent, and waits a moment for the read model to be as far: what came after
// a revocation is not sent to the key that was revoked.
func (s *server) mayRead(r *http.Request, page eventstore.Page) error {
	if len(page.Entries) > 0 {
		ctx, cancel := context.WithTimeout(r.Context(), maxLag)
		defer cancel()
		_ = s.Store.WaitFor(ctx, page.Next.At[eventstore.Events]) // one that has stopped keeps nobody from the trail
	}
	auth, err := s.authRequest(r, auditScope)
	if err != nil {
		return err
	}
	return s.Verifier.StillMay(auth)
}

const (
	followLimit = 500         // events that a follower takes at once
	maxLag      = time.Second // how long what is read waits for the read model
)

var (
	checkEvery = 5 * time.Second  // how often it is looked whether a caller who waits may still read
	sayEvery   = 15 * time.Second // how often a follower hears that there is nothing new
)

func (s *server) pageEvents(w http.ResponseWriter, r *http.Request, q eventQuery) {
	page, err := s.trail.Page(r.Context(), q.filter, q.cursor, q.limit)
	if err == nil && len(page.Entries) == 0 && q.wait > 0 {
		q.cursor = page.Next
		page, err = s.waitForEvents(r, q)
	}
	if err != nil {
		s.problem(w, r, err)
		return
	}
	items := make([]json.RawMessage, len(page.Entries))
	for i, e := range page.Entries {
		if items[i], err = e.CloudEvent(); err != nil {
			s.problem(w, r, err)
			return
		}
	}
	writeJSON(w, map[string]any{"items": items, "next_cursor": page.Next.String(), "at_end": page.AtEnd})
}

// waitForEvents follows until there is an event, up to q.wait. When the service stops, the
// empty page tells where to go on.
func (s *server) waitForEvents(r *http.Request, q eventQuery) (eventstore.Page, error) {
	ctx, done := s.whileServing(r.Context())
	defer done()
	subscription := s.trail.Subscribe(q.filter, q.cursor)
	defer subscription.Close()
	for end := time.Now().Add(q.wait); ; {
		until := time.Now().Add(checkEvery)
		if end.Before(until) {
			until = end
		}
		page, err := subscription.Next(ctx, until, q.limit)
		if err == nil {
			err = s.mayRead(r, page)
		}
		if err != nil || len(page.Entries) > 0 || ctx.Err() != nil || !time.Now().Before(end) {
			return page, err
		}
	}
}

// pieceBytes is when what is gathered of a stream is written: each piece has a deadline of
// its own.
const pieceBytes = 32 << 10

// replayEvents breaks off what it cannot finish, so that its reader knows that it is not whole.
func (s *server) replayEvents(w http.ResponseWriter, r *http.Request, q eventQuery) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	ctx, done := s.whileServing(r.Context())
	defer done()
	var piece []byte
	checked, gone := time.Now(), errors.New("the client is gone, or takes nothing")
	err := s.trail.Replay(ctx, q.filter, q.cursor, func(e *eventstore.Entry) error {
		event, err := e.CloudEvent()
		if err != nil {
			return err
		}
		piece = append(append(piece, event...), '\n')
		if len(piece) < pieceBytes {
			return nil
		}
		if time.Since(checked) > checkEvery {
			if err := s.mayRead(r, eventstore.Page{}); err != nil {
				return err
			}
			checked = time.Now()
		}
		if _, err := w.Write(piece); err != nil {
			return gone
		}
		piece = piece[:0]
		return nil
	})
	switch {
	case err == nil:
		_, _ = w.Write(piece)
	case errors.Is(err, gone):
	default:
		s.abort(r, err)
	}
}

// abort breaks a stream off.
func (s *server) abort(r *http.Request, err error) {
	if r.Context().Err() == nil && s.Stopping.Err() == nil {
		s.Logger.ErrorContext(r.Context(), "stream broken off", "request_id", requestID(r.Context()), "err", err)
	}
	panic(http.ErrAbortHandler)
}

// followEvents ends when the service stops or the caller may no longer read, and is broken
// off at an event that cannot be read. The id of each event is the cursor behind it, so that
// a reader who comes back with Last-Event-ID misses none.
func (s *server) followEvents(w http.ResponseWriter, r *http.Request, q eventQuery) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	ctx, done := s.whileServing(r.Context())
	defer done()
	subscription := s.trail.Subscribe(q.filter, q.cursor)
	defer subscription.Close()
	control, at, said := http.NewResponseController(w), q.cursor, time.Now()
	for control.Flush() == nil {
		page, err := subscription.Next(ctx, time.Now().Add(checkEvery), followLimit)
		if ctx.Err() != nil || s.mayRead(r, page) != nil {
			return
		}
		if err != nil {
			s.abort(r, err)
		}
		if len(page.Entries) == 0 && time.Since(said) < sayEvery {
			continue
		}
		if err := s.send(w, r, at, page); err != nil {
			return // the client is gone, or takes nothing
		}
		at, said = page.Next, time.Now()
	}
}

// send writes the events of a page behind at; of an empty one, the cursor alone, so that
// what did not match is not looked at again by a reader who comes back.
func (s *server) send(w io.Writer, r *http.Request, at eventstore.Cursor, page eventstore.Page) error {
	var piece []byte
	for _, e := range page.Entries {
		event, err := e.CloudEvent()
		if err != nil {
			s.abort(r, err)
		}
		at.Move(&e.Record)
		piece = append(piece, "id: "+at.String()+"\nevent: "+e.Type+"\ndata: "...)
		if piece = append(append(piece, event...), "\n\n"...); len(piece) < pieceBytes {
			continue
		}
		if _, err := w.Write(piece); err != nil {
			return err
		}
		piece = piece[:0]
	}
	if len(page.Entries) == 0 {
		piece = append(piece, ": nothing new\nid: "+page.Next.String()+"\n\n"...)
	}
	_, err := w.Write(piece)
	return err
}
