package api_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/keytrail/keytrail/api"
	"github.com/keytrail/keytrail/eventstore"
)

// A watched answer calls first when the first piece of its body is sent.
type watched struct {
	*httptest.ResponseRecorder
	first func()
}

func (w *watched) Write(b []byte) (int, error) {
	if w.Body.Len() == 0 {
		w.first()
	}
	return w.ResponseRecorder.Write(b)
}

// TestNothingMoreIsSentToAKeyThatWasRevoked revokes a key while it is sent what holds all
// digests of the installation.
func TestNothingMoreIsSentToAKeyThatWasRevoked(t *testing.T) {
	api.SetExportAtOnce(t, 1)
	var o api.Options
	s := startWith(t, nil, func(made *api.Options) { o = *made })
	handler := api.New(o)
	org := s.org("Acme")
	for range 3 {
		s.must(s.root, "POST", "/v1/keys", `{"org_id":"`+org+`","name":"k"}`)
	}
	for _, path := range []string{"/v1/keys/export", "/v1/backup"} {
		made := s.must(s.root, "POST", "/v1/keys", `{"name":"backups","keyspace":"keytrail","scopes":["keys:export","backup:read"]}`)
		r := httptest.NewRequestWithContext(t.Context(), "GET", path, nil)
		r.Header.Set("X-API-Key", made["secret"].(string))
		w := &watched{httptest.NewRecorder(), func() {
			s.must(s.root, "POST", "/v1/keys/"+made["key"].(map[string]any)["id"].(string)+"/revoke", "")
		}}
		func() {
			defer func() {
				if cause := recover(); cause != http.ErrAbortHandler {
					t.Errorf("%s was not broken off: %v, %d bytes", path, cause, w.Body.Len())
				}
			}()
			handler.ServeHTTP(w, r)
		}()
	}
}

// A timed answer counts its pieces, and those before which a deadline was set.
type timed struct {
	*httptest.ResponseRecorder
	fresh          bool
	pieces, inTime int
}

func (w *timed) SetWriteDeadline(time.Time) error {
	w.fresh = true
	return nil
}

func (w *timed) Write(b []byte) (int, error) {
	if w.pieces++; w.fresh {
		w.inTime++
	}
	w.fresh = false
	return w.ResponseRecorder.Write(b)
}

// A long answer may take as long as its client takes each piece of it in time.
func TestEachPieceOfALongAnswerHasADeadlineOfItsOwn(t *testing.T) {
	api.SetExportAtOnce(t, 10)
	s := startSigned(t)
	org := s.org("Acme")
	for range 70 {
		s.must(s.root, "POST", "/v1/keys", `{"org_id":"`+org+`","name":"k","metadata":{"a":"`+strings.Repeat("a", 500)+`","b":"`+strings.Repeat("b", 500)+`"}}`)
	}
	end, err := s.ledger.End(t.Context(), eventstore.Events)
	if err != nil {
		t.Fatal(err)
	}
	s.signed(s.root, "events", int64(end))
	s.signed(s.root, "uses", 1)
	for _, path := range []string{"/v1/trail/bundle", "/v1/events", "/v1/keys/export", "/v1/backup"} {
		r := httptest.NewRequestWithContext(t.Context(), "GET", path, nil)
		r.Header = http.Header{"X-Api-Key": {s.root}, "Accept": {"application/x-ndjson"}}
		w := &timed{ResponseRecorder: httptest.NewRecorder()}
		s.handler.ServeHTTP(w, r)
		if w.Code != 200 || w.pieces < 2 || w.inTime != w.pieces {
			t.Errorf("%s: %d, a deadline before %d of %d pieces", path, w.Code, w.inTime, w.pieces)
		}
	}
}
