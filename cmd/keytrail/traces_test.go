package main

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// A receiver takes spans as an OpenTelemetry collector does.
type receiver struct {
	mu       sync.Mutex
	raw      []byte
	spans    []*trace.Span
	services []string
}

func (c *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		body, _ = gzip.NewReader(r.Body)
	}
	text, err := io.ReadAll(body)
	var sent collector.ExportTraceServiceRequest
	if err != nil || proto.Unmarshal(text, &sent) != nil {
		http.Error(w, "not OTLP", http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.raw = append(c.raw, text...)
	for _, resource := range sent.ResourceSpans {
		for _, a := range resource.Resource.Attributes {
			c.services = append(c.services, a.Key+"="+a.Value.GetStringValue())
		}
		for _, scope := range resource.ScopeSpans {
			c.spans = append(c.spans, scope.Spans...)
		}
	}
}

// TestTracesNameRoutesAndHoldNothingThatWasSent puts secrets where they do not belong.
func TestTracesNameRoutesAndHoldNothingThatWasSent(t *testing.T) {
	t.Setenv("OTEL_SERVICE_NAME", "keys-of-ours")
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
	c := &receiver{}
	server := httptest.NewServer(c)
	defer server.Close()
	r := launch(t, t.TempDir(), "--otlp-endpoint", server.URL, "--log-level", "debug")
	made := r.newKey(t, r.newOrg(t))
	secret := made.Secret
	const id = "4bf92f3577b34da6a3ce929d0e0e4736"
	for _, call := range []struct{ method, path, body string }{
		{"POST", "/v1/keys/" + made.Key.ID + "/disable", ""}, {"POST", "/v1/keys/" + made.Key.ID + "/revoke", ""}, {"POST", "/v1/verify", `{"key":"` + secret + `"}`},
		{"GET", "/v1/keys/" + secret, ""}, {"GET", "/v1/keys?cursor=" + secret, ""}, {"GET", "/v1/keys?" + secret + "=1", ""}, {"GET", "/" + secret, ""},
		{"GET", "/v1/authorize/default/" + secret + "?key=" + secret, ""}, {"GET", "/v1/authorize/" + secret, ""}, {secret, "/v1/keys", ""},
		{"POST", "/v1/keys", `{"` + secret + `":1}`}, {"GET", "/v1/events?cursor=" + secret, ""}, {"GET", "/v1/organizations/%" + hex.EncodeToString([]byte("~")) + secret, ""},
	} {
		request, err := http.NewRequestWithContext(t.Context(), strings.ToUpper(call.method), r.url+call.path, strings.NewReader(call.body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header = http.Header{"Authorization": {"Bearer " + r.rootKey(t)}, "Content-Type": {"application/json"}, "User-Agent": {secret},
			"Traceparent": {"00-" + id + "-00f067aa0ba902b7-01"}}
		answer, err := web.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
	}
	root := r.rootKey(t)
	if code := r.end(t, syscall.SIGTERM); code != 0 {
		t.Fatalf("serve ended with %d: %s", code, r.said)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, text := range map[string][]byte{"the spans": c.raw, "the log": []byte(r.said.String())} {
		for _, s := range []string{secret, strings.ToUpper(secret), root} {
			if bytes.Contains(text, []byte(s)) {
				t.Errorf("%s hold a secret", name)
			}
		}
	}
	var names []string
	for _, s := range c.spans {
		if hex.EncodeToString(s.TraceId) == id {
			names = append(names, s.Name)
		}
		if s.Kind == trace.Span_SPAN_KIND_SERVER && !slices.ContainsFunc(s.Attributes, func(a *common.KeyValue) bool { return a.Key == "http.route" }) {
			t.Errorf("%s has no route", s.Name)
		}
	}
	for _, want := range []string{"POST /v1/keys/{id}/revoke", "POST /v1/verify", "GET /v1/keys/{id}", "GET /v1/authorize/{keyspace}", "GET none", "_OTHER none",
		"decide", "load from the ledger", "append to the ledger", "wait for the read model", "record the use"} {
		if !slices.Contains(names, want) {
			t.Errorf("no span %q in the caller's trace: %q", want, names)
		}
	}
	for _, want := range []string{"service.name=keys-of-ours", "deployment.environment.name=test"} {
		if !slices.Contains(c.services, want) {
			t.Errorf("no %s: %q", want, c.services)
		}
	}
}
