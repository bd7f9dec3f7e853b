package transport

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/keytrail/keytrail/forwarders/outbound"
)

// Bounds of what is kept of an answer, and heeded.
const (
	maxResponse   = 1024      // bytes of an answer that the operator is shown
	maxRetryAfter = time.Hour // a receiver that asks for more is asked again then
)

// An httpReceiver is one that is spoken to over HTTP.
type httpReceiver struct {
	client *outbound.Client
	url    *url.URL
	header http.Header // of each request
	redact *strings.Replacer
}

func newHTTPReceiver(r Receiver, e Environment) (httpReceiver, error) {
	u, err := url.Parse(r.URL)
	if err != nil || u.Hostname() == "" || u.User != nil {
		return httpReceiver{}, errURL
	}
	c, err := e.Outbound.Client(u, outbound.Certificates{CA: r.Settings.CA, Client: r.Credentials.ClientCertificate, ClientKey: r.Credentials.ClientKey})
	if err != nil {
		return httpReceiver{}, err
	}
	h := http.Header{}
	for name, value := range r.Credentials.Headers {
		h.Set(name, value)
	}
	h.Set("User-Agent", "Keytrail/"+e.Version)
	return httpReceiver{client: c, url: u, header: h, redact: redaction(r)}, nil
}

// minRedacted is the length from which a value is taken for a credential: shorter ones are in any text.
const minRedacted = 6

// redaction takes the credentials of a receiver out of what it answers: one that shows the request it
// was sent, as many do to help, would show them to all who may read the sink's attempts.
func redaction(r Receiver) *strings.Replacer {
	c := r.Credentials
	values := []string{c.Token, c.Password, c.SecretAccessKey, basic(r)}
	for _, v := range c.Headers {
		_, credentials, _ := strings.Cut(v, " ")
		values = append(values, v, credentials)
	}
	var pairs []string
	for _, v := range values {
		if len(v) >= minRedacted {
			pairs = append(pairs, v, "[secret]")
		}
	}
	return strings.NewReplacer(pairs...)
}

// basic are the credentials of basic authentication.
func basic(r Receiver) string {
	return base64.StdEncoding.EncodeToString([]byte(r.Settings.Username + ":" + r.Credentials.Password))
}

// errURL does not show the URL, which may have credentials where it is wrong.
var errURL = errors.New("the URL is not one like https://receiver.example.com/path, without credentials")

// Close closes idle connections.
func (h *httpReceiver) Close() error { return h.client.Close() }

// post sends body with headers beside those of all requests.
func (h *httpReceiver) post(ctx context.Context, to *url.URL, body []byte, header map[string]string) (outbound.Answer, *Failure) {
	r, err := http.NewRequest(http.MethodPost, to.String(), nil)
	if err != nil {
		return outbound.Answer{}, &Failure{Text: errURL.Error()}
	}
	maps.Copy(r.Header, h.header)
	for name, value := range header {
		r.Header.Set(name, value)
	}
	return h.do(ctx, r, body)
}

// do makes a request with a body. The failure is nil if the receiver accepted it.
func (h *httpReceiver) do(ctx context.Context, r *http.Request, body []byte) (outbound.Answer, *Failure) {
	r.ContentLength = int64(len(body))
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil } // on another connection
	a, err := h.client.Do(ctx, r)
	if err != nil {
		return a, &Failure{Status: a.Status, Text: h.shown(err.Error())}
	}
	return a, h.failureOf(a, time.Now())
}

// failureOf is what follows from the status of an answer.
func (h *httpReceiver) failureOf(a outbound.Answer, now time.Time) *Failure {
	f := &Failure{Status: a.Status, Text: outbound.Printable(fmt.Sprintf("%s: answered %d %s", h.url.Host, a.Status, http.StatusText(a.Status)), maxResponse)}
	switch a.Status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		f.Kind = Rejected
	case http.StatusGone:
		f.Kind = Gone
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		f.After = retryAfter(a.Header.Get("Retry-After"), now)
	}
	if a.Status/100 == 2 {
		return nil
	}
	if a.Status/100 == 3 {
		f.Text += ", and redirects are not followed"
	}
	return f
}

// retryAfter reads the header of that name: seconds, or a date. 0: it is not there, or wrong.
func retryAfter(text string, now time.Time) time.Duration {
	var after time.Duration
	if n, err := strconv.ParseUint(text, 10, 32); err == nil {
		after = time.Duration(n) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		after = at.Sub(now)
	}
	return min(max(after, 0), maxRetryAfter)
}

// response is what the operator is shown of an answer.
func (h *httpReceiver) response(a outbound.Answer) string {
	text := h.shown(string(a.Body))
	if a.Long {
		return text + " (longer than 64 KiB: the rest was not read)"
	}
	return text
}

// jsonBody is the event in the sink's format if that is JSON, else (CEF) as a JSON string.
func jsonBody(e *Event) []byte {
	if len(e.Body) > 0 && e.Body[0] == '{' {
		return e.Body
	}
	body, _ := json.Marshal(string(e.Body)) // a string always has a JSON
	return body
}

// shown is text of an answer as the operator is shown it.
func (h *httpReceiver) shown(text string) string {
	return outbound.Printable(h.redact.Replace(text), maxResponse)
}

// A bulk sends many events with one request.
type bulk interface {
	// request makes it. The failure is of all the events.
	request(ctx context.Context, events []Event) (outbound.Answer, *Failure)
	// failures are those of single events, as the answer has them.
	failures(events []Event, a outbound.Answer) map[int]*Failure
	response(a outbound.Answer) string
}

// sendBulk sends events as one request; if the receiver rejects it for good, each half by itself,
// and so on, so that only what it rejects by itself is rejected.
func sendBulk(ctx context.Context, b bulk, events []Event) Result {
	a, f := b.request(ctx, events)
	r := Result{Status: a.Status, Response: b.response(a)}
	switch {
	case f == nil:
		r.Failed = b.failures(events, a)
		return r
	case f.Kind != Rejected || len(events) == 1:
		r.Failed = All(len(events), f).Failed
		return r
	}
	half := len(events) / 2
	first := sendBulk(ctx, b, events[:half])
	if f := lasting(first.Failed); f != nil {
		return mergeFailed(first, half, All(len(events)-half, f))
	}
	return mergeFailed(first, half, sendBulk(ctx, b, events[half:]))
}

// lasting is a failure after which the next request would fail as well, nil if there is none.
func lasting(failed map[int]*Failure) *Failure {
	for _, f := range failed {
		if f.Kind != Rejected {
			return f
		}
	}
	return nil
}

// mergeFailed is the result of a Send whose events from at on had the result second.
func mergeFailed(first Result, at int, second Result) Result {
	if first.Failed == nil {
		first.Failed = map[int]*Failure{}
	}
	for i, f := range second.Failed {
		first.Failed[at+i] = f
	}
	if len(second.Failed) > 0 {
		first.Status, first.Response = second.Status, second.Response
	}
	return first
}
