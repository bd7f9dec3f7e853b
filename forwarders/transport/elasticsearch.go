package transport

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/keytrail/keytrail/forwarders/outbound"
	"github.com/keytrail/keytrail/internal/fastjson"
)

// Bounds of a bulk request. Of the answer 64 KiB are read: with an error for each event it has half
// of that.
const (
	bulkEvents = 500
	bulkBytes  = 5 << 20
	bulkLinger = 500 * time.Millisecond
)

// elasticsearch delivers by the bulk API of Elasticsearch and OpenSearch, to an index or a data
// stream. An event's id is its document's, and a document is only ever created: a repeat conflicts
// with what is there, which is success.
type elasticsearch struct {
	httpReceiver
	bulk   *url.URL
	header map[string]string
}

func newElasticsearch(r Receiver, e Environment) (Sender, error) {
	h, err := newHTTPReceiver(r, e)
	if err != nil {
		return nil, err
	}
	s := &elasticsearch{httpReceiver: h, bulk: h.url.JoinPath(r.Settings.Index, "_bulk"), header: map[string]string{"Content-Type": "application/x-ndjson"}}
	s.bulk.RawQuery = "filter_path=errors,items.*.status,items.*.error.type"
	switch {
	case r.Credentials.Token != "":
		s.header["Authorization"] = "ApiKey " + r.Credentials.Token
	case r.Settings.Username != "":
		s.header["Authorization"] = "Basic " + basic(r)
	}
	return s, nil
}

func (s *elasticsearch) Limits() Limits {
	return Limits{Events: bulkEvents, Bytes: bulkBytes, Linger: bulkLinger}
}

func (s *elasticsearch) Send(ctx context.Context, events []Event) Result {
	return sendBulk(ctx, s, events)
}

func (s *elasticsearch) request(ctx context.Context, events []Event) (outbound.Answer, *Failure) {
	var body []byte
	for i := range events {
		body = appendDocument(body, &events[i])
	}
	return s.post(ctx, s.bulk, body, s.header)
}

// A bulkReply is the answer to a bulk request. Items are in the order of the request.
type bulkReply struct {
	Errors bool `json:"errors"`
	Items  []struct {
		Create struct {
			Status int `json:"status"`
			Error  struct {
				Type string `json:"type"`
			} `json:"error"`
		} `json:"create"`
	} `json:"items"`
}

// failures are those of single documents.
func (s *elasticsearch) failures(events []Event, a outbound.Answer) map[int]*Failure {
	var reply bulkReply
	if err := json.Unmarshal(a.Body, &reply); err != nil || reply.Errors && len(reply.Items) != len(events) {
		return All(len(events), &Failure{Status: a.Status, Text: s.url.Host + ": its answer is not that of the bulk API"}).Failed
	}
	failed := map[int]*Failure{}
	for i, item := range reply.Items {
		if f := s.failureOfDocument(item.Create.Status, item.Create.Error.Type); f != nil {
			failed[i] = f
		}
	}
	return failed
}

// failureOfDocument is nil for a document that was created, now or before. What is not of the
// document itself, such as a full queue (429) or an index that is not there, may pass.
func (s *elasticsearch) failureOfDocument(status int, reason string) *Failure {
	f := &Failure{Status: status, Text: s.shown(fmt.Sprintf("%s: document refused with %d %s", s.url.Host, status, reason))}
	switch {
	case status/100 == 2 || status == http.StatusConflict:
		return nil
	case status == http.StatusBadRequest || status == http.StatusRequestEntityTooLarge:
		f.Kind = Rejected
	}
	return f
}

// timestamp is the first member of a document, which a data stream demands.
const timestamp = `{"@timestamp":`

// appendDocument appends the two lines of an event: what to do, and the document, with a timestamp
// if its format has none.
func appendDocument(b []byte, e *Event) []byte {
	b = fastjson.AppendMember(b, `{"create":{"_id":`, e.ID)
	b = append(b, "}}\n"...)
	body := jsonBody(e)
	if !bytes.HasPrefix(body, []byte(timestamp)) {
		b = append(append(b, timestamp...), '"')
		b = e.Time.UTC().AppendFormat(b, time.RFC3339Nano)
		b = append(b, `",`...)
		body = body[1:]
	}
	return append(append(b, body...), '\n')
}
