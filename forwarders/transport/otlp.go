package transport

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
	collector "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	logs "go.opentelemetry.io/proto/otlp/logs/v1"
	resource "go.opentelemetry.io/proto/otlp/resource/v1"
	"google.golang.org/protobuf/proto"

	"github.com/keytrail/keytrail/forwarders/outbound"
)

// Bounds of an export: collectors take 4 MiB by default.
const (
	otlpEvents = 1000
	otlpBytes  = 2 << 20
	otlpLinger = 500 * time.Millisecond
)

// otlp delivers log records by OTLP/HTTP in protobuf. A record's body is the event in the sink's
// format, as text; what it is found by are attributes.
type otlp struct {
	httpReceiver
	logs     *url.URL
	resource *resource.Resource
	scope    *common.InstrumentationScope
}

func newOTLP(r Receiver, e Environment) (Sender, error) {
	h, err := newHTTPReceiver(r, e)
	if err != nil {
		return nil, err
	}
	s := &otlp{httpReceiver: h, logs: h.url, scope: &common.InstrumentationScope{Name: "github.com/keytrail/keytrail", Version: e.Version}}
	if !strings.HasSuffix(h.url.Path, "/v1/logs") {
		s.logs = h.url.JoinPath("v1/logs")
	}
	s.resource = &resource.Resource{Attributes: attributes("service.name", "keytrail", "service.version", e.Version, "service.instance.id", e.Origin)}
	return s, nil
}

func (s *otlp) Limits() Limits {
	return Limits{Events: otlpEvents, Bytes: otlpBytes, Linger: otlpLinger}
}

func (s *otlp) Send(ctx context.Context, events []Event) Result {
	return sendBulk(ctx, s, events)
}

func (s *otlp) request(ctx context.Context, events []Event) (outbound.Answer, *Failure) {
	raw, err := proto.Marshal(s.export(events))
	if err != nil {
		return outbound.Answer{}, &Failure{Kind: Rejected, Text: "it cannot be written as OTLP"} // text that is not UTF-8
	}
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, gzip.BestSpeed) // a level that there is; the next ones take thrice as long
	_, _ = z.Write(raw)                             // a buffer takes all
	_ = z.Close()
	return s.post(ctx, s.logs, b.Bytes(), map[string]string{"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"})
}

// failures looks for records that were rejected in an answer with status 200. Which ones these are
// is not said, and the protocol forbids to send any of them again: all are set aside, where an
// operator finds them, rather than that some are lost in silence.
func (s *otlp) failures(events []Event, a outbound.Answer) map[int]*Failure {
	var reply collector.ExportLogsServiceResponse
	if proto.Unmarshal(a.Body, &reply) != nil || reply.GetPartialSuccess().GetRejectedLogRecords() == 0 {
		return nil
	}
	p := reply.GetPartialSuccess()
	why := fmt.Sprintf("%s: rejected %d of %d log records, not saying which: %s", s.url.Host, p.GetRejectedLogRecords(), len(events), p.GetErrorMessage())
	return All(len(events), &Failure{Kind: Rejected, Status: a.Status, Text: s.shown(why)}).Failed
}

func (s *otlp) export(events []Event) *collector.ExportLogsServiceRequest {
	records := make([]*logs.LogRecord, len(events))
	now := uint64(time.Now().UnixNano())
	for i := range events {
		e := &events[i]
		records[i] = &logs.LogRecord{
			TimeUnixNano: uint64(e.Time.UnixNano()), ObservedTimeUnixNano: now,
			SeverityNumber: logs.SeverityNumber_SEVERITY_NUMBER_INFO, SeverityText: "INFO",
			EventName:  e.Type,
			Body:       text(string(e.Body)),
			Attributes: attributes("keytrail.event.id", e.ID, "keytrail.event.sequence", e.Sequence, "keytrail.org.id", string(e.Org), "keytrail.key", e.Key),
		}
	}
	return &collector.ExportLogsServiceRequest{ResourceLogs: []*logs.ResourceLogs{{
		Resource: s.resource, ScopeLogs: []*logs.ScopeLogs{{Scope: s.scope, LogRecords: records}},
	}}}
}

func text(s string) *common.AnyValue {
	return &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: s}}
}

// attributes are of names and values in turn.
func attributes(pairs ...string) (all []*common.KeyValue) {
	for i := 0; i < len(pairs); i += 2 {
		all = append(all, &common.KeyValue{Key: pairs[i], Value: text(pairs[i+1])})
	}
	return all
}
