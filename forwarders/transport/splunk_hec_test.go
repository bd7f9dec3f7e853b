package transport

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/keytrail/keytrail/domain"
)

// splunk is a stand-in for an HTTP Event Collector, written from "Format events for HTTP Event
// Collector" and "About HTTP Event Collector Indexer Acknowledgment" of Splunk's documentation. It
// says that a request is indexed when it was asked so many times.
type splunk struct {
	t         *testing.T
	questions int32
	ackless   bool
	asked     atomic.Int32
	events    []splunkEvent
}

type splunkEvent struct {
	Time       json.Number
	Host       string
	Source     string
	SourceType string
	Index      string
	Event      json.RawMessage
	Fields     map[string]string
}

func (s *splunk) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Splunk "+secret {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `{"text":"Invalid token","code":4}`)
		return
	}
	channel := r.Header.Get("X-Splunk-Request-Channel")
	switch r.URL.Path {
	case "/services/collector/event":
		for d := json.NewDecoder(r.Body); ; {
			var e splunkEvent
			if err := d.Decode(&e); err == io.EOF {
				break
			} else if err != nil {
				s.t.Error(err)
				return
			}
			s.events = append(s.events, e)
		}
		if channel == "" || s.ackless {
			fmt.Fprint(w, `{"text":"Success","code":0}`)
			return
		}
		fmt.Fprint(w, `{"text":"Success","code":0,"ackId":7}`)
	case "/services/collector/ack":
		body, _ := io.ReadAll(r.Body)
		if r.URL.Query().Get("channel") != channel || string(body) != `{"acks":[7]}` {
			s.t.Errorf("asked for %s of %s", body, r.URL)
		}
		fmt.Fprintf(w, `{"acks":{"7":%t}}`, s.asked.Add(1) >= s.questions)
	}
}

func splunkTo(url string, acknowledge bool) Receiver {
	return Receiver{
		SinkDefinition: domain.SinkDefinition{Type: domain.SinkSplunkHEC, URL: url, Format: domain.FormatOCSF, Settings: domain.SinkSettings{Index: "security", Acknowledge: acknowledge}},
		Credentials:    domain.SinkCredentials{Token: secret},
	}
}

// TestSplunk: events as HEC has them.
func TestSplunk(t *testing.T) {
	s := &splunk{t: t}
	events := someEvents(2, "a", "b")
	events[1].Body = []byte(`CEF:0|"x"`)
	accepted(t, newSender(t, splunkTo(serveHTTP(t, s.ServeHTTP), false)).Send(t.Context(), events))
	if len(s.events) != 2 {
		t.Fatalf("%d events came", len(s.events))
	}
	e := s.events[0]
	if e.Time != "1795176000.123" || e.Host != "keytrail-0123abcd" || e.Source != "keytrail" || e.SourceType != "keytrail:ocsf" || e.Index != "security" ||
		string(e.Event) != `{"n":1}` || e.Fields["id"] != "0123abcd-events-1" || e.Fields["type"] != "key.revoked" || e.Fields["org_id"] != "org_a" {
		t.Errorf("it came as %+v", e)
	}
	if string(s.events[1].Event) != `"CEF:0|\"x\""` {
		t.Errorf("text came as %s", s.events[1].Event)
	}
}

// TestSplunkAcknowledges: a batch is accepted when it is indexed, and not before.
func TestSplunkAcknowledges(t *testing.T) {
	s := &splunk{t: t, questions: 3}
	accepted(t, newSender(t, splunkTo(serveHTTP(t, s.ServeHTTP), true)).Send(t.Context(), someEvents(2, "a")))
	if s.asked.Load() != 3 {
		t.Errorf("it was asked %d times", s.asked.Load())
	}
	off := &splunk{t: t, ackless: true}
	failed(t, newSender(t, splunkTo(serveHTTP(t, off.ServeHTTP), true)).Send(t.Context(), someEvents(2, "a")), 2, Again, "indexer acknowledgement is off")
}

// TestSplunkRefuses: an event that it cannot read is rejected, and what is wrong with the settings
// may be set right.
func TestSplunkRefuses(t *testing.T) {
	for answer, kind := range map[string]Kind{
		`{"text":"Invalid data format","code":6,"invalid-event-number":0}`: Rejected,
		`{"text":"Incorrect index","code":7}`:                              Again,
		`{"text":"Data channel is missing","code":10}`:                     Again,
		`<html>`: Rejected,
	} {
		url := serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, answer)
		})
		var reply splunkReply
		_ = json.NewDecoder(strings.NewReader(answer)).Decode(&reply)
		failed(t, newSender(t, splunkTo(url, false)).Send(t.Context(), someEvents(2, "a")), 2, kind, reply.Text)
	}
	r := splunkTo(serveHTTP(t, (&splunk{t: t}).ServeHTTP), false)
	r.Credentials.Token = "other"
	failed(t, newSender(t, r).Send(t.Context(), someEvents(2, "a")), 2, Again, "answered 403 Forbidden: Invalid token")
}
