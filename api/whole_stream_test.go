package api_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/keytrail/keytrail/api"
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
