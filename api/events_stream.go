package api

import (
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// chunkBytes is how much of a stream is gathered before it is written: each write has a
// deadline of its own.
const chunkBytes = 32 << 10

var errClientGone = errors.New("the client is gone, or takes nothing")

// replayEvents sends all events up to now, one a line. It aborts what it cannot finish, so that
// the client knows that it is not whole.
func (s *server) replayEvents(w http.ResponseWriter, r *http.Request, p domain.Principal, q eventQuery) error {
	release, err := s.admission.acquireFor(r.Context(), &s.admission.replays, p.Org)
	if err != nil {
		return err
	}
	defer release()
	w.Header().Set("Content-Type", "application/x-ndjson")
	ctx, done := s.whileServing(r.Context())
	defer done()
	var chunk []byte
	checked := time.Now()
	send := func() error {
		if time.Since(checked) > recheckEvery {
			if err := s.stillMayRead(r, eventstore.Page{}); err != nil {
				return err
			}
			checked = time.Now()
		}
		if _, err := w.Write(chunk); err != nil {
			return errClientGone
		}
		chunk = chunk[:0]
		return nil
	}
	err = s.trail.Replay(ctx, q.filter, q.cursor, func(e *eventstore.Record) (err error) {
		if chunk, err = e.AppendCloudEvent(chunk); err != nil {
			return err
		}
		if chunk = append(chunk, '\n'); len(chunk) < chunkBytes {
			return nil
		}
		return send()
	})
	if err == nil {
		err = send()
	}
	if err != nil && !errors.Is(err, errClientGone) {
		s.abort(r, err)
	}
	return nil
}

// followEvents sends events as they come, as Server-Sent Events. It ends when the service
// stops or the caller may no longer read, and is aborted at an event that cannot be read. The id
// of each event is the cursor behind it, so that a client that comes back with Last-Event-ID
// misses none.
func (s *server) followEvents(w http.ResponseWriter, r *http.Request, p domain.Principal, q eventQuery) {
	w.Header().Set("Content-Type", eventStream)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	ctx, done := s.whileServing(r.Context())
	defer done()
	subscription := s.trail.Subscribe(p.Org, q.filter, q.cursor)
	defer subscription.Close()
	goesOn := q.read(domain.AccessFollow)
	goesOn.Continued = true
	control, at, written := http.NewResponseController(w), q.cursor, time.Now()
	for control.Flush() == nil {
		page, err := subscription.Next(ctx, time.Now().Add(recheckEvery), followLimit)
		if ctx.Err() != nil || s.stillMayRead(r, page) != nil || s.readTrail(ctx, p, goesOn) != nil {
			return
		}
		if err != nil {
			s.abort(r, err)
		}
		if len(page.Entries) == 0 && time.Since(written) < keepAliveEvery {
			continue
		}
		text := s.appendEvents(nil, r, at, page)
		at, written = page.Next, time.Now()
		page = eventstore.Page{} // a slow client holds their text alone, and not the chunks of the ring that they are in
		for piece := range slices.Chunk(text, chunkBytes) {
			if _, err := w.Write(piece); err != nil {
				return // errClientGone
			}
		}
	}
}

// appendEvents appends the events of a page behind at; of an empty page, a keep-alive comment and
// the cursor, so that a client that comes back does not read again what did not match.
func (s *server) appendEvents(text []byte, r *http.Request, at eventstore.Cursor, page eventstore.Page) []byte {
	for _, e := range page.Entries {
		event, err := e.CloudEvent()
		if err != nil {
			s.abort(r, err)
		}
		at.Move(&e.Record)
		text = append(text, "id: "+at.String()+"\nevent: "+e.Type+"\ndata: "...)
		text = append(append(text, event...), "\n\n"...)
	}
	if len(page.Entries) == 0 {
		text = append(text, ": nothing new\nid: "+page.Next.String()+"\n\n"...)
	}
	return text
}

// abort ends a stream before its end, which its client sees as a broken connection.
func (s *server) abort(r *http.Request, err error) {
	if r.Context().Err() == nil && s.Stopping.Err() == nil {
		s.Logger.ErrorContext(r.Context(), "stream broken off", "request_id", requestID(r.Context()), "err", err)
	}
	panic(http.ErrAbortHandler)
}
