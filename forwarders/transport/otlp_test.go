package transport

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	collector "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	logs "go.opentelemetry.io/proto/otlp/logs/v1"
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

// TestAnExportIsAsTheLibraryWritesIt, with texts of each length that a length's own bytes depend on.
func TestAnExportIsAsTheLibraryWritesIt(t *testing.T) {
	s := newSender(t, overHTTP("https://collector.example")[domain.SinkOTLP]).(*otlp)
	now := time.Unix(1795176001, 5)
	var events []Event
	var records []*logs.LogRecord
	for _, n := range []int{0, 1, 100, 127, 128, 20_000} {
		content := strings.Repeat("ü", n)
		events = append(events, Event{ID: "id" + content, Key: content, Type: "key.used", Org: "org_a", Time: now.Add(-time.Second), Sequence: "17.3", Body: []byte("{" + content)})
		records = append(records, &logs.LogRecord{TimeUnixNano: uint64(now.UnixNano() - 1e9), ObservedTimeUnixNano: uint64(now.UnixNano()),
			SeverityNumber: logs.SeverityNumber_SEVERITY_NUMBER_INFO, SeverityText: "INFO", EventName: "key.used", Body: text("{" + content),
			Attributes: attributes("keytrail.event.id", "id"+content, "keytrail.event.sequence", "17.3", "keytrail.org.id", "org_a", "keytrail.key", content)})
	}
	for range 2 { // the second time in memory that was used
		body, ok := s.export(events, now)
		zip, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil || !ok {
			t.Fatal(err)
		}
		raw, err1 := io.ReadAll(zip)
		var got collector.ExportLogsServiceRequest
		if err := errors.Join(err1, proto.Unmarshal(raw, &got)); err != nil {
			t.Fatal(err)
		}
		of := got.GetResourceLogs()[0]
		want := &collector.ExportLogsServiceRequest{ResourceLogs: []*logs.ResourceLogs{{Resource: of.GetResource(), ScopeLogs: []*logs.ScopeLogs{{Scope: of.GetScopeLogs()[0].GetScope(), LogRecords: records}}}}}
		if !proto.Equal(&got, want) || len(of.GetResource().GetAttributes()) != 3 || of.GetScopeLogs()[0].GetScope().GetName() == "" {
			t.Errorf("it is %v", &got)
		}
	}
	if _, ok := s.export([]Event{{Body: []byte("\xff")}}, now); ok {
		t.Error("text that is not UTF-8 was written")
	}
}

func BenchmarkOTLP(b *testing.B) {
	s := newSender(b, overHTTP("https://collector.example")[domain.SinkOTLP]).(*otlp)
	var events []Event
	for n := range otlpEvents {
		id := fmt.Sprint(n)
		events = append(events, Event{ID: "0123abcd-uses-17-" + id, Key: "key_0123456789abcdef012345" + id, Type: "key.used", Org: "org_0123456789abcdef012345", Time: time.Now(), Sequence: "17." + id,
			Body: []byte(`{"specversion":"1.0","id":"Xk2mPq8vT1nR5sW7yZ0aBc.` + id + `","source":"/keytrail/uses","type":"key.used","subject":"key_0123456789abcdef012345` + id +
				`","time":"2026-11-22T12:00:00.123Z","datacontenttype":"application/json","position":"17.` + id + `","orgid":"org_0123456789abcdef012345","decided":"9","data":{"key_id":"key_0123456789abcdef012345` + id + `","code":"VALID","at":"2026-11-22T12:00:00.123Z"}}`)})
	}
	b.ReportAllocs()
	for b.Loop() {
		s.export(events, time.Now())
	}
}
