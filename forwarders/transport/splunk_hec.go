package transport

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/keytrail/keytrail/forwarders/outbound"
	"github.com/keytrail/keytrail/internal/fastjson"
)

// Bounds of a request to Splunk, whose recommendation for one is below 1 MB, and of the wait for its
// indexers. These take some seconds; the poll begins often enough for a test's receiver.
const (
	splunkEvents  = 1000
	splunkBytes   = 900_000
	splunkLinger  = 500 * time.Millisecond
	splunkPoll    = 50 * time.Millisecond // doubled up to maxSplunkPoll
	maxSplunkPoll = 2 * time.Second
	maxSplunkAck  = time.Minute
)

// splunkHEC delivers to an HTTP Event Collector of Splunk. With acknowledgement an event is accepted
// when it is indexed; without, when Splunk has received it, and may lose it.
type splunkHEC struct {
	httpReceiver
	receive, acks *url.URL
	header        map[string]string
	metadata      []byte // the members of each event that are the same
	acknowledge   bool
}

func newSplunkHEC(r Receiver, e Environment) (Sender, error) {
	h, err := newHTTPReceiver(r, e)
	if err != nil {
		return nil, err
	}
	s := &splunkHEC{
		httpReceiver: h, acknowledge: r.Settings.Acknowledge,
		receive: h.url.JoinPath("services/collector/event"), acks: h.url.JoinPath("services/collector/ack"),
		header: map[string]string{"Authorization": "Splunk " + r.Credentials.Token, "Content-Type": "application/json"},
	}
	if s.acknowledge {
		channel := uuid.NewString()
		s.header["X-Splunk-Request-Channel"] = channel
		s.acks.RawQuery = "channel=" + channel
	}
	m := fastjson.AppendMember(nil, `,"host":`, "keytrail-"+e.Origin)
	m = fastjson.AppendMember(m, `,"source":`, cmp.Or(r.Settings.Source, "keytrail"))
	m = fastjson.AppendMember(m, `,"sourcetype":`, cmp.Or(r.Settings.SourceType, "keytrail:"+string(r.Format)))
	s.metadata = fastjson.AppendOptionalMember(m, `,"index":`, r.Settings.Index)
	return s, nil
}

func (s *splunkHEC) Limits() Limits {
	return Limits{Events: splunkEvents, Bytes: splunkBytes, Linger: splunkLinger}
}

func (s *splunkHEC) Send(ctx context.Context, events []Event) Result {
	return sendBulk(ctx, s, events)
}

// A splunkReply is the body of an answer.
type splunkReply struct {
	Code int    `json:"code"`
	Text string `json:"text"`
	Ack  *int64 `json:"ackId"`
}

// request makes one request, and waits until what it brought is indexed.
func (s *splunkHEC) request(ctx context.Context, events []Event) (outbound.Answer, *Failure) {
	var body []byte
	for i := range events {
		body = s.appendEvent(body, &events[i])
	}
	a, f := s.post(ctx, s.receive, body, s.header)
	var reply splunkReply
	_ = json.Unmarshal(a.Body, &reply) // without it the status says enough
	if f != nil && f.Kind == Rejected && !splunkRejects(reply.Code) {
		f.Kind = Again
	}
	if f != nil && reply.Text != "" {
		f.Text += ": " + s.shown(reply.Text)
	}
	if f == nil && s.acknowledge {
		f = s.awaitIndexed(ctx, reply.Ack)
	}
	return a, f
}

// failures are none: HEC takes a request or refuses it.
func (s *splunkHEC) failures([]Event, outbound.Answer) map[int]*Failure { return nil }

// splunkRejects reports whether an error of HEC is of the events. Another one with the status 400,
// such as an index that the token may not write to, is of the settings, there or here; none has a
// status of 400 and no code.
func splunkRejects(code int) bool {
	switch code {
	case 0, 5, 6, 12, 13, 15: // no code; no data, invalid data format, event field missing or blank, indexed fields
		return true
	}
	return false
}

// appendEvent appends an event as HEC has it. Its id and type are indexed, so that repeats are found
// without a look into the event.
func (s *splunkHEC) appendEvent(b []byte, e *Event) []byte {
	b = append(b, `{"time":`...)
	b = strconv.AppendFloat(b, float64(e.Time.UnixMilli())/1000, 'f', 3, 64)
	b = append(b, s.metadata...)
	b = append(append(b, `,"event":`...), jsonBody(e)...)
	b = fastjson.AppendMember(b, `,"fields":{"id":`, e.ID)
	b = fastjson.AppendMember(b, `,"type":`, e.Type)
	b = fastjson.AppendMember(b, `,"org_id":`, string(e.Org))
	b = fastjson.AppendMember(b, `,"sequence":`, e.Sequence)
	return append(b, "}}\n"...)
}

// awaitIndexed asks for the acknowledgement until it is there. If it does not come in time, the
// events are sent again: they may be lost, and a repeat is found by its id.
func (s *splunkHEC) awaitIndexed(ctx context.Context, ack *int64) *Failure {
	if ack == nil {
		return &Failure{Status: http.StatusOK, Text: s.url.Host + ": it gave no ackId: indexer acknowledgement is off for this token"}
	}
	ctx, cancel := context.WithTimeout(ctx, maxSplunkAck)
	defer cancel()
	question := fmt.Appendf(nil, `{"acks":[%d]}`, *ack)
	for pause := splunkPoll; ; pause = min(2*pause, maxSplunkPoll) {
		select {
		case <-ctx.Done():
			return &Failure{Status: http.StatusOK, Text: s.url.Host + ": received, but not indexed in time"}
		case <-time.After(pause):
		}
		indexed, f := s.indexed(ctx, question, *ack)
		if indexed || f != nil && ctx.Err() == nil {
			return f
		}
	}
}

// indexed asks once.
func (s *splunkHEC) indexed(ctx context.Context, question []byte, ack int64) (bool, *Failure) {
	a, f := s.post(ctx, s.acks, question, s.header)
	if f != nil {
		f.Kind = Again // the question was wrong, not the events
		return false, f
	}
	var reply struct {
		Acks map[string]bool `json:"acks"`
	}
	if err := json.Unmarshal(a.Body, &reply); err != nil {
		return false, &Failure{Status: a.Status, Text: s.url.Host + ": its answer about acknowledgements is not JSON"}
	}
	return reply.Acks[strconv.FormatInt(ack, 10)], nil
}
