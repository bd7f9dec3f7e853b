package api

import (
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/keytrail/keytrail/eventstore"
)

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

// abort breaks a stream off.
func (s *server) abort(r *http.Request, err error) {
	if r.Context().Err() == nil && s.Stopping.Err() == nil {
		s.Logger.ErrorContext(r.Context(), "stream broken off", "request_id", requestID(r.Context()), "err", err)
	}
	panic(http.ErrAbortHandler)
}
