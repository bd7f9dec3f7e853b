package transport

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/klauspost/compress/gzip"
	collector "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	logs "go.opentelemetry.io/proto/otlp/logs/v1"
	resource "go.opentelemetry.io/proto/otlp/resource/v1"
	"google.golang.org/protobuf/encoding/protowire"
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
	resource []byte // a ResourceLogs that has only its resource
	scope    []byte // a ScopeLogs that has only its scope
}

func newOTLP(r Receiver, e Environment) (Sender, error) {
	h, err := newHTTPReceiver(r, e)
	if err != nil {
		return nil, err
	}
	s := &otlp{httpReceiver: h, logs: h.url}
	if !strings.HasSuffix(h.url.Path, "/v1/logs") {
		s.logs = h.url.JoinPath("v1/logs")
	}
	s.scope, err = proto.Marshal(&logs.ScopeLogs{Scope: &common.InstrumentationScope{Name: "github.com/keytrail/keytrail", Version: e.Version}})
	if err != nil {
		return nil, err
	}
	of := &resource.Resource{Attributes: attributes("service.name", "keytrail", "service.version", e.Version, "service.instance.id", e.Origin)}
	s.resource, err = proto.Marshal(&logs.ResourceLogs{Resource: of})
	return s, err
}

func (s *otlp) Limits() Limits {
	return Limits{Events: otlpEvents, Bytes: otlpBytes, Linger: otlpLinger}
}

func (s *otlp) Send(ctx context.Context, events []Event) Result {
	return sendBulk(ctx, s, events)
}

func (s *otlp) request(ctx context.Context, events []Event) (outbound.Answer, *Failure) {
	body, ok := s.export(events, time.Now())
	if !ok {
		return outbound.Answer{}, &Failure{Kind: Rejected, Text: "it cannot be written as OTLP: a text is not UTF-8"}
	}
	return s.post(ctx, s.logs, body, map[string]string{"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"})
}

// An otlpWriter is the memory for a request. The compressor's is more than a megabyte.
type otlpWriter struct {
	records, record, head []byte
	zip                   *gzip.Writer
}

var otlpWriters = sync.Pool{New: func() any {
	z, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // a level that there is; the next ones take thrice as long
	return &otlpWriter{zip: z}
}}

// export is an ExportLogsServiceRequest, compressed; false: a text of an event is not UTF-8.
func (s *otlp) export(events []Event, now time.Time) (body []byte, ok bool) {
	w := otlpWriters.Get().(*otlpWriter)
	defer otlpWriters.Put(w)
	w.records = w.records[:0]
	for i := range events {
		if !isText(&events[i]) {
			return nil, false
		}
		w.records, w.record = appendRecord(w.records, w.record, &events[i], now)
	}
	w.head = s.appendHead(w.head[:0], len(w.records))
	var b bytes.Buffer
	w.zip.Reset(&b)
	_, _ = w.zip.Write(w.head) // a buffer takes all
	_, _ = w.zip.Write(w.records)
	_ = w.zip.Close()
	return b.Bytes(), true
}

// isText reports whether all of an event can be text of protobuf.
func isText(e *Event) bool {
	return utf8.Valid(e.Body) && utf8.ValidString(e.ID) && utf8.ValidString(e.Sequence) && utf8.ValidString(string(e.Org)) && utf8.ValidString(e.Key) && utf8.ValidString(e.Type)
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

// appendRecord appends a field of ScopeLogs, a LogRecord. It is written by hand: to make the messages
// of the library for each event, and to marshal these, takes several times as long. scratch is memory
// for one record.
func appendRecord(b, scratch []byte, e *Event, now time.Time) (_, _ []byte) {
	r := protowire.AppendTag(scratch[:0], 1, protowire.Fixed64Type) // time_unix_nano
	r = protowire.AppendFixed64(r, uint64(e.Time.UnixNano()))
	r = protowire.AppendTag(r, 2, protowire.VarintType) // severity_number
	r = protowire.AppendVarint(r, uint64(logs.SeverityNumber_SEVERITY_NUMBER_INFO))
	r = appendText(r, 3, "INFO") // severity_text
	r = appendValue(r, 5, e.Body)
	r = appendAttribute(r, "keytrail.event.id", e.ID)
	r = appendAttribute(r, "keytrail.event.sequence", e.Sequence)
	r = appendAttribute(r, "keytrail.org.id", string(e.Org))
	r = appendAttribute(r, "keytrail.key", e.Key)
	r = protowire.AppendTag(r, 11, protowire.Fixed64Type) // observed_time_unix_nano
	r = protowire.AppendFixed64(r, uint64(now.UnixNano()))
	r = appendText(r, 12, e.Type) // event_name
	return protowire.AppendBytes(protowire.AppendTag(b, 2, protowire.BytesType), r), r
}

func appendText(b []byte, field protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), s)
}

// appendValue appends a field that is an AnyValue with a text.
func appendValue[T string | []byte](b []byte, field protowire.Number, text T) []byte {
	b = protowire.AppendVarint(protowire.AppendTag(b, field, protowire.BytesType), uint64(valueSize(len(text))))
	b = protowire.AppendVarint(protowire.AppendTag(b, 1, protowire.BytesType), uint64(len(text)))
	return append(b, text...)
}

func valueSize(text int) int { return protowire.SizeTag(1) + protowire.SizeBytes(text) }

// appendAttribute appends a field of LogRecord, a KeyValue.
func appendAttribute(b []byte, key, value string) []byte {
	size := protowire.SizeTag(1) + protowire.SizeBytes(len(key)) + protowire.SizeTag(2) + protowire.SizeBytes(valueSize(len(value)))
	b = protowire.AppendVarint(protowire.AppendTag(b, 6, protowire.BytesType), uint64(size))
	return appendValue(appendText(b, 1, key), 2, value)
}

// appendHead appends all of an ExportLogsServiceRequest but the records, which end it and have so many
// bytes.
func (s *otlp) appendHead(b []byte, records int) []byte {
	scope := len(s.scope) + records
	b = protowire.AppendTag(b, 1, protowire.BytesType) // resource_logs
	b = protowire.AppendVarint(b, uint64(len(s.resource)+protowire.SizeTag(2)+protowire.SizeBytes(scope)))
	b = protowire.AppendTag(append(b, s.resource...), 2, protowire.BytesType) // scope_logs
	return append(protowire.AppendVarint(b, uint64(scope)), s.scope...)
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
