package transport

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/keytrail/keytrail/domain"
)

// index is a stand-in for the bulk API of a data stream, written from "Bulk index or delete
// documents" of Elasticsearch's documentation: it creates a document once, and demands a timestamp.
type index struct {
	t         *testing.T
	documents map[string]map[string]any
	busy      bool
}

func (x *index) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/prefix/logs-keytrail/_bulk" || r.Header.Get("Content-Type") != "application/x-ndjson" || r.Header.Get("Authorization") != "ApiKey "+secret {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	var items []string
	bad := false
	for lines := bufio.NewScanner(r.Body); lines.Scan(); {
		var action struct {
			Create struct {
				ID string `json:"_id"`
			} `json:"create"`
		}
		if err := json.Unmarshal(lines.Bytes(), &action); err != nil || !lines.Scan() {
			x.t.Errorf("%s: %v", lines.Bytes(), err)
		}
		status, reason := x.create(action.Create.ID, lines.Bytes())
		bad = bad || reason != ""
		items = append(items, fmt.Sprintf(`{"create":{"status":%d%s}}`, status, reason))
	}
	fmt.Fprintf(w, `{"errors":%t,"items":[%s]}`, bad, strings.Join(items, ","))
}

func (x *index) create(id string, body []byte) (status int, reason string) {
	var d map[string]any
	if err := json.Unmarshal(body, &d); err != nil {
		x.t.Errorf("%s: %v", body, err)
	}
	switch {
	case x.documents[id] != nil:
		return 409, `,"error":{"type":"version_conflict_engine_exception"}`
	case d["@timestamp"] == nil || d["n"] == "text":
		return 400, `,"error":{"type":"document_parsing_exception"}`
	case d["n"] == "large":
		return 413, `,"error":{"type":"document_too_large"}`
	case x.busy:
		return 429, `,"error":{"type":"es_rejected_execution_exception"}`
	}
	x.documents[id] = d
	return 201, ""
}

// TestElasticsearch: a repeat is taken once, and each document has its own outcome.
func TestElasticsearch(t *testing.T) {
	x := &index{t: t, documents: map[string]map[string]any{}}
	r := Receiver{SinkDefinition: domain.SinkDefinition{Type: domain.SinkElasticsearch, URL: serveHTTP(t, x.ServeHTTP) + "/prefix", Settings: domain.SinkSettings{Index: "logs-keytrail"}},
		Credentials: domain.SinkCredentials{Token: secret}}
	s := newSender(t, r)
	events := someEvents(4, "a", "b")
	accepted(t, s.Send(t.Context(), events[:2]))
	accepted(t, s.Send(t.Context(), events[:3]))
	if d := x.documents["0123abcd-events-1"]; len(x.documents) != 3 || d["@timestamp"] != "2026-11-20T12:00:00.123Z" || d["n"] != 1.0 {
		t.Errorf("it has %v", x.documents)
	}

	x.busy = true
	r1 := s.Send(t.Context(), events)
	if len(r1.Failed) != 1 || r1.Failed[3] == nil || r1.Failed[3].Kind != Again {
		t.Errorf("of a busy one %v failed", r1.Failed)
	}
	x.busy = false
	events[3].Body = []byte(`{"@timestamp":"2026-11-20T12:00:00Z","n":"text"}`)
	r2 := s.Send(t.Context(), events)
	failed(t, r2, 1, Rejected, "document refused with 400 document_parsing_exception")
	events[3].Body = []byte(`{"n":"large"}`)
	failed(t, s.Send(t.Context(), events), 1, Rejected, "document refused with 413")

	r.Credentials, r.Settings.Username = domain.SinkCredentials{Password: secret}, "u"
	failed(t, newSender(t, r).Send(t.Context(), events), 4, Again, "answered 401")
}

// TestElasticsearchAnswersSomethingElse: a page of a proxy with status 200 is no success.
func TestElasticsearchAnswersSomethingElse(t *testing.T) {
	for _, answer := range []string{"<html>", `{"errors":true,"items":[]}`} {
		url := serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, answer) })
		failed(t, newSender(t, overHTTP(url)[domain.SinkElasticsearch]).Send(t.Context(), someEvents(2, "a")), 2, Again, "not that of the bulk API")
	}
}
