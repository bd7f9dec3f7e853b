package transport

import (
	"compress/gzip"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/forwarders/outbound"
)

// secret is in each credential of the tests, and must be in no error.
const secret = "hunter2"

var loopback = Environment{Origin: "0123abcd", Version: "test", Outbound: outbound.Policy{Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}}

func newSender(t testing.TB, r Receiver) Sender {
	t.Helper()
	s, err := New(r, loopback)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// serveHTTP is a receiver in plain text.
func serveHTTP(t testing.TB, h http.HandlerFunc) (url string) {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// someEvents are n events, of the keys in turn.
func someEvents(n int, keys ...string) (all []Event) {
	for i := range n {
		all = append(all, Event{
			ID: fmt.Sprintf("0123abcd-events-%d", i+1), Key: keys[i%len(keys)], Type: "key.revoked", Org: "org_a",
			Time: time.Date(2026, 11, 20, 12, 0, 0, 123e6, time.UTC), Sequence: fmt.Sprint(i + 1), Body: fmt.Appendf(nil, `{"n":%d}`, i+1),
		})
	}
	return all
}

func accepted(t *testing.T, r Result) {
	t.Helper()
	for i, f := range r.Failed {
		t.Errorf("event %d: %s", i, f.Text)
	}
}

// failed checks that all of n events failed so, and that no credential is told.
func failed(t *testing.T, r Result, n int, kind Kind, says string) {
	t.Helper()
	if len(r.Failed) != n {
		t.Errorf("%d events failed, want %d", len(r.Failed), n)
	}
	for i, f := range r.Failed {
		if f.Kind != kind || !strings.Contains(f.Text, says) {
			t.Errorf("event %d: kind %d, %q; want kind %d, %q", i, f.Kind, f.Text, kind, says)
		}
		if strings.Contains(f.Text, secret) {
			t.Errorf("%q has a credential", f.Text)
		}
	}
}

// httpTypes are the types that are spoken to over HTTP.
var httpTypes = []domain.SinkType{domain.SinkElasticsearch, domain.SinkOTLP, domain.SinkS3, domain.SinkSplunkHEC, domain.SinkWebhook}

// overHTTP are a receiver of each type that is spoken to over HTTP.
func overHTTP(url string) map[domain.SinkType]Receiver {
	all := map[domain.SinkType]Receiver{}
	for _, t := range httpTypes {
		all[t] = Receiver{Sink: "sink_a", SinkDefinition: domain.SinkDefinition{Type: t, URL: url,
			Settings: domain.SinkSettings{Index: "keytrail", Bucket: "trail", Region: "eu-west-1", AccessKeyID: "AKIA"}},
			Credentials: domain.SinkCredentials{Token: secret, SecretAccessKey: secret, Headers: map[string]string{"Authorization": secret}}}
	}
	return all
}

// TestHostileReceivers: what the operator reads of each, and what follows from it, for each type.
func TestHostileReceivers(t *testing.T) {
	status := func(status int, header ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(status)
		}
	}
	hijacked := func(raw string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			c, _, _ := http.NewResponseController(w).Hijack()
			fmt.Fprint(c, raw)
			_ = c.Close()
		}
	}
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		kind   Kind
		says   string
		after  time.Duration
	}{
		"redirect to metadata":  {status(302, "Location", "http://169.254.169.254/"), Again, "answered 302 Found, and redirects are not followed", 0},
		"unauthorized":          {status(401), Again, "answered 401 Unauthorized", 0},
		"forbidden":             {status(403), Again, "answered 403", 0},
		"not found":             {status(404), Again, "answered 404", 0},
		"failing":               {status(500), Again, "answered 500", 0},
		"busy for a minute":     {status(429, "Retry-After", "60"), Again, "answered 429", time.Minute},
		"busy for days":         {status(503, "Retry-After", "864000"), Again, "answered 503", time.Hour},
		"busy until 1999":       {status(503, "Retry-After", "Sun, 31 Oct 1999 00:00:00 GMT"), Again, "answered 503", 0},
		"busy until tomorrow":   {status(429, "Retry-After", time.Now().AddDate(0, 0, 1).UTC().Format(http.TimeFormat)), Again, "answered 429", time.Hour},
		"200, then drops":       {hijacked("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"), Again, "answered 200, then: unexpected EOF", 0},
		"drops":                 {hijacked(""), Again, "EOF", 0},
		"not HTTP":              {hijacked("220 smtp.example.com ESMTP\r\n"), Again, "malformed HTTP", 0},
		"a hundred early hints": {hijacked(strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: "+strings.Repeat("a", 1000)+"\r\n\r\n", 100)), Again, "", 0},
	} {
		url := serveHTTP(t, c.answer)
		for kind, r := range overHTTP(url) {
			t.Run(name+", "+string(kind), func(t *testing.T) {
				got := newSender(t, r).Send(t.Context(), someEvents(2, "a"))
				failed(t, got, 2, c.kind, c.says)
				if got.Failed[0].After != c.after {
					t.Errorf("again after %v, want %v", got.Failed[0].After, c.after)
				}
			})
		}
	}
}

// TestUnreachableReceivers: nothing listens, a wrong certificate, an address that is denied.
func TestUnreachableReceivers(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := "http://" + l.Addr().String()
	_ = l.Close()
	secure := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer secure.Close()
	for url, says := range map[string]string{
		closed:                     "connection refused",
		secure.URL:                 "certificate signed by unknown authority",
		"https://169.254.169.254/": "not allowed: a cloud's metadata address",
		"http://10.0.0.1/":         "not allowed: a private address",
	} {
		for kind, r := range overHTTP(url) {
			t.Run(url+", "+string(kind), func(t *testing.T) {
				failed(t, newSender(t, r).Send(t.Context(), someEvents(3, "a", "b")), 3, Again, says)
			})
		}
	}
}

// TestGoAway: a receiver that ends an HTTP/2 connection amid a request is a failure that passes.
func TestGoAway(t *testing.T) {
	certificates := httptest.NewTLSServer(nil)
	defer certificates.Close()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: certificates.TLS.Certificates, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go goAway(c)
		}
	}()
	for kind, r := range overHTTP("https://" + l.Addr().String()) {
		r.Settings.CA = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificates.Certificate().Raw}))
		t.Run(string(kind), func(t *testing.T) {
			failed(t, newSender(t, r).Send(t.Context(), someEvents(1, "a")), 1, Again, "GOAWAY")
		})
	}
}

// goAway answers the first request with the end of the connection.
func goAway(c net.Conn) {
	defer c.Close()
	if _, err := io.CopyN(io.Discard, c, int64(len(http2.ClientPreface))); err != nil {
		return
	}
	f := http2.NewFramer(c, c)
	_ = f.WriteSettings()
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return
		}
		if h, ok := frame.(*http2.HeadersFrame); ok {
			_ = f.WriteGoAway(h.StreamID, http2.ErrCodeEnhanceYourCalm, []byte("calm\x1b[31m"))
			return
		}
	}
}

// TestCredentialsThatAreSentBack: a receiver that shows the request shows it to itself alone.
func TestCredentialsThatAreSentBack(t *testing.T) {
	url := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprintf(w, `{"text":"you sent %s"}`, r.Header.Get("Authorization"))
	})
	all := overHTTP(url)
	basic := all[domain.SinkElasticsearch]
	basic.Credentials, basic.Settings.Username = domain.SinkCredentials{Password: secret}, "u"
	all["basic"] = basic
	for kind, r := range all {
		t.Run(string(kind), func(t *testing.T) {
			got := newSender(t, r).Send(t.Context(), someEvents(1, "a"))
			failed(t, got, 1, Again, "answered 401")
			if strings.Contains(got.Response, secret) || strings.Contains(got.Response, "dTpodW50ZXIy") || !strings.Contains(got.Response, "you sent") {
				t.Errorf("the operator is shown %s", got.Response)
			}
		})
	}
}

// TestRejectedInABulk: what a receiver rejects in a bulk is found by halves, and the rest is taken.
func TestRejectedInABulk(t *testing.T) {
	for kind, answer := range map[domain.SinkType]string{domain.SinkElasticsearch: `{"errors":false}`, domain.SinkOTLP: "", domain.SinkSplunkHEC: `{"text":"Success","code":0}`} {
		t.Run(string(kind), func(t *testing.T) {
			taken := 0
			url := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
				body := unzipped(t, r)
				if strings.Contains(body, "events-3") {
					w.WriteHeader(http.StatusRequestEntityTooLarge)
					return
				}
				taken += strings.Count(body, "events-")
				fmt.Fprint(w, answer)
			})
			r := newSender(t, overHTTP(url)[kind]).Send(t.Context(), someEvents(8, "a"))
			failed(t, r, 1, Rejected, "answered 413")
			if r.Failed[2] == nil || taken != 7 {
				t.Errorf("%v failed, %d were taken", r.Failed, taken)
			}
		})
	}
}

// unzipped is the body of a request.
func unzipped(t *testing.T, r *http.Request) string {
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			t.Error(err)
			return ""
		}
		body = z
	}
	text, err := io.ReadAll(body)
	if err != nil {
		t.Error(err)
	}
	return string(text)
}

// TestURLsThatAreRefused before anything is sent, and not shown.
func TestURLsThatAreRefused(t *testing.T) {
	for _, url := range []string{"", "ftp://h/", "https:///path", "https://user:" + secret + "@h/", "http://[::1/" + secret} {
		for kind, r := range overHTTP(url) {
			if _, err := New(r, loopback); err == nil || strings.Contains(err.Error(), secret) {
				t.Errorf("%s: %q: %v", kind, url, err)
			}
		}
	}
}

// BenchmarkSend measures what each type takes in a second from a receiver on this machine that
// takes everything: full batches, the events of as many keys.
func BenchmarkSend(b *testing.B) {
	answers := map[domain.SinkType]string{domain.SinkElasticsearch: `{"errors":false}`, domain.SinkSplunkHEC: `{"text":"Success","code":0}`}
	body := []byte(`{"specversion":"1.0","id":"zOLqt0mc62b8C470yY4NBE.3","source":"/keytrail/uses","type":"key.used","subject":"key_kay52g0bw1dy3y88veh5syg35w","time":"2026-11-20T12:00:00.123Z","datacontenttype":"application/json","position":"17.3","orgid":"org_cvsgmmhy41zc3xfcgxkxx6qvr8","actor":"key_asker","correlationid":"r-1","node":"n1","decided":"5","data":{"key_id":"key_kay52g0bw1dy3y88veh5syg35w","code":"VALID","scopes":["a:read"],"ip":"192.0.2.7","at":"2026-11-20T12:00:00.123Z"}}`)
	for _, kind := range httpTypes {
		b.Run(string(kind), func(b *testing.B) {
			url := serveHTTP(b, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				fmt.Fprint(w, answers[kind])
			})
			s, err := New(overHTTP(url)[kind], loopback)
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			events := someEvents(min(s.Limits().Events, s.Limits().Bytes/len(body)), keysOf(s.Limits().Events)...)
			for i := range events {
				events[i].Body = body
			}
			for b.Loop() {
				if r := s.Send(b.Context(), events); len(r.Failed) > 0 {
					b.Fatal(r.Failed[0])
				}
			}
			b.ReportMetric(float64(b.N*len(events))/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// keysOf are n keys.
func keysOf(n int) (keys []string) {
	for i := range n {
		keys = append(keys, fmt.Sprint("key_", i))
	}
	return keys
}
