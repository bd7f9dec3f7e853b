package api_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/keytrail/keytrail/api"
)

// TestSlowReadersOfAnOrganizationAreBounded: clients that ask for pages or replays and take nothing
// hold the slots of their organization until they are cut off, and none of another one's.
func TestSlowReadersOfAnOrganizationAreBounded(t *testing.T) {
	var o api.Options
	s := startWith(t, nil, func(made *api.Options) { o = *made })
	handler := api.New(o)
	auditor := func(name string) string {
		_, secret := s.create(s.root, `{"org_id":"`+s.org(name)+`","keyspace":"keytrail","name":"auditor","scopes":["audit:read"]}`)
		return secret
	}
	ours, theirs := auditor("ours"), auditor("theirs")
	for accept, refusal := range map[string]string{"application/json": "too_many_pages", "application/x-ndjson": "too_many_replays"} {
		ask := func(w http.ResponseWriter, key string) {
			r := httptest.NewRequestWithContext(t.Context(), "GET", "/v1/events", nil)
			r.Header = http.Header{"X-Api-Key": {key}, "Accept": {accept}}
			handler.ServeHTTP(w, r)
		}
		var readers sync.WaitGroup
		stalled, cut := make(chan struct{}), make(chan struct{})
		for range 8 {
			readers.Go(func() {
				ask(&watched{httptest.NewRecorder(), func() { stalled <- struct{}{}; <-cut }}, ours)
			})
			<-stalled
		}
		answer := func(key string) *httptest.ResponseRecorder {
			w := httptest.NewRecorder()
			ask(w, key)
			return w
		}
		if w := answer(ours); w.Code != 429 || !strings.Contains(w.Body.String(), refusal) || w.Header().Get("Retry-After") == "" {
			t.Errorf("%s: one more is answered %d %.200s", accept, w.Code, w.Body)
		}
		if w := answer(theirs); w.Code != 200 {
			t.Errorf("%s: another organization is answered %d %.200s", accept, w.Code, w.Body)
		}
		close(cut)
		readers.Wait()
		if w := answer(ours); w.Code != 200 {
			t.Errorf("%s: when all are cut it is answered %d %.200s", accept, w.Code, w.Body)
		}
	}
}
