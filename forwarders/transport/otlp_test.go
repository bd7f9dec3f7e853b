package transport

import (
	"net/http"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	"google.golang.org/protobuf/proto"

	"github.com/keytrail/keytrail/domain"
)

// TestOTLP: log records with the event as body, and what it is found by as attributes.
func TestOTLP(t *testing.T) {
	var got collector.ExportLogsServiceRequest
	url := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		if err := proto.Unmarshal([]byte(unzipped(t, r)), &got); err != nil || r.URL.Path != "/v1/logs" || r.Header.Get("Authorization") != secret {
			t.Errorf("%s: %v", r.URL, err)
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	})
	for _, path := range []string{"", "/v1/logs"} {
		accepted(t, newSender(t, overHTTP(url + path)[domain.SinkOTLP]).Send(t.Context(), someEvents(2, "key_a")))
	}
	records := got.GetResourceLogs()[0].GetScopeLogs()[0].GetLogRecords()
	if len(records) != 2 {
		t.Fatalf("%d records came", len(records))
	}
	r := records[0]
	attributes := map[string]string{}
	for _, a := range r.GetAttributes() {
		attributes[a.GetKey()] = a.GetValue().GetStringValue()
	}
	if r.GetBody().GetStringValue() != `{"n":1}` || r.GetEventName() != "key.revoked" || r.GetTimeUnixNano() != 1795176000123000000 ||
		attributes["keytrail.event.id"] != "0123abcd-events-1" || attributes["keytrail.org.id"] != "org_a" || attributes["keytrail.key"] != "key_a" {
		t.Errorf("it came as %v", r)
	}
}

// TestOTLPPartialSuccess: records that were rejected are not lost in silence.
func TestOTLPPartialSuccess(t *testing.T) {
	requests := 0
	url := serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) {
		requests++
		b, _ := proto.Marshal(&collector.ExportLogsServiceResponse{PartialSuccess: &collector.ExportLogsPartialSuccess{RejectedLogRecords: 1, ErrorMessage: "too old"}})
		_, _ = w.Write(b)
	})
	failed(t, newSender(t, overHTTP(url)[domain.SinkOTLP]).Send(t.Context(), someEvents(3, "a")), 3, Rejected, "rejected 1 of 3 log records, not saying which: too old")
	if requests != 1 {
		t.Errorf("%d requests: the protocol forbids to send them again", requests)
	}
}
