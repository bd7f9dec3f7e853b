package api_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/keytrail/keytrail/api"
)

// limited is a service with a tenant, and low limits.
func limited(t *testing.T, l api.Limits) (s *service, auditor, secret string) {
	t.Parallel()
	s = startWith(t, nil, func(o *api.Options) { o.Limits = l })
	org := s.org("acme")
	_, auditor = s.create(s.root, `{"org_id":"`+org+`","keyspace":"keytrail","name":"auditor","scopes":["audit:read","keys:verify","keys:write"]}`)
	_, secret = s.create(s.root, `{"org_id":"`+org+`","name":"n"}`)
	return s, auditor, secret
}

// alive fails unless a client at an address has a verification and both health checks answered.
func (s *service) alive(address, key, secret string) {
	s.t.Helper()
	client := from(address)
	defer client.CloseIdleConnections()
	for _, c := range []struct{ method, path, body, want string }{
		{"POST", "/v1/verify", `{"key":"` + secret + `"}`, "VALID"}, {"GET", "/livez", "", "live"}, {"GET", "/readyz", "", `"ready":true`},
		{"GET", "/metrics", "", "keytrail_http_refused_total"},
	} {
		r, _ := http.NewRequestWithContext(s.t.Context(), c.method, s.url+c.path, strings.NewReader(c.body))
		r.Header = http.Header{"Authorization": {"Bearer " + key}, "Content-Type": {"application/json"}}
		a, err := client.Do(r)
		if err != nil {
			s.t.Fatal(err)
		}
		text, err := io.ReadAll(a.Body)
		a.Body.Close()
		if err != nil || a.StatusCode != 200 || !strings.Contains(string(text), c.want) {
			s.t.Errorf("%s %s from %s: %d %.200s %v", c.method, c.path, address, a.StatusCode, text, err)
		}
	}
}

func TestClientsThatReadNothingHoldNobodyUp(t *testing.T) {
	s, key, secret := limited(t, api.Limits{InFlight: 8, WriteTimeout: time.Minute})
	for _, attacker := range []string{"127.0.0.2", "127.0.0.3"} {
		for range 4 {
			s.dial(attacker).stuff(t, "GET /openapi.json HTTP/1.1\nHost: x\n\n")
		}
	}
	s.alive("127.0.0.1", key, secret)
}

func TestAClientThatReadsNothingIsCutOff(t *testing.T) {
	s, _, _ := limited(t, api.Limits{WriteTimeout: 100 * time.Millisecond})
	c := s.dial("127.0.0.2")
	for c.send("GET /openapi.json HTTP/1.1\nHost: x\n\n") == nil { // until the server has had enough
		_ = c.SetWriteDeadline(time.Now().Add(20 * time.Second))
	}
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.Copy(io.Discard, c.Conn); err != nil && strings.Contains(err.Error(), "timeout") {
		t.Errorf("the connection is open: %v", err)
	}
}

// A body that does not arrive holds no slot, whatever route it is for. The 100 shows that
// the server waits for it.
func TestSlowBodiesHoldNobodyUp(t *testing.T) {
	for route, how := range map[string]string{"/v1/verify": "json", "/v1/keys": "json", "/v1/keys/import": "x-ndjson"} {
		t.Run(route, func(t *testing.T) {
			s, key, secret := limited(t, api.Limits{InFlight: 4})
			for i := range 8 {
				c := s.dial(fmt.Sprint("127.0.0.", 2+i/2))
				if err := c.send("POST %s HTTP/1.1\nHost: x\nAuthorization: Bearer %s\nContent-Type: application/%s\nContent-Length: 1000\nExpect: 100-continue\n\n", route, key, how); err != nil {
					t.Fatal(err)
				}
				if got := c.status(t); got != "100 Continue" {
					t.Fatal(got)
				}
			}
			s.alive("127.0.0.1", key, secret)
		})
	}
}

func TestStreamsHaveSlotsOfTheirOwn(t *testing.T) {
	for how, request := range map[string]string{
		"follows":    "GET /v1/events HTTP/1.1\nHost: x\nAccept: text/event-stream\nAuthorization: Bearer %s\n\n",
		"long polls": "GET /v1/events?type=organization.updated&wait=60s HTTP/1.1\nHost: x\nAuthorization: Bearer %s\n\n",
	} {
		t.Run(how, func(t *testing.T) {
			s, key, secret := limited(t, api.Limits{InFlight: 2, Streams: 8, StreamsPerKey: 3})
			org := s.must(key, "GET", "/v1/principal", "")["org_id"].(string)
			streams := 0
			open := func(key string) { // one after the other: each begins with an in-flight slot
				t.Helper()
				if err := s.dial("127.0.0.1").send(request, key); err != nil {
					t.Fatal(err)
				}
				streams++
				s.untilMetric(fmt.Sprint("keytrail_http_streams ", streams))
			}
			refused := func(key, want string) {
				t.Helper()
				c := s.dial("127.0.0.1")
				if err := c.send(request, key); err != nil {
					t.Fatal(err)
				}
				if got := c.status(t); got != want {
					t.Errorf("one stream more: %s, want %s", got, want)
				}
			}
			for range 3 {
				open(key)
			}
			refused(key, "429 Too Many Requests")
			_, second := s.create(s.root, `{"org_id":"`+org+`","keyspace":"keytrail","name":"second","scopes":["audit:read"]}`)
			open(second)
			refused(second, "429 Too Many Requests") // half of all are the organization's
			for range 3 {
				open(s.root)
			}
			_, other := s.create(s.root, `{"keyspace":"keytrail","name":"other","scopes":["audit:read"]}`)
			open(other)
			refused(other, "503 Service Unavailable")
			s.alive("127.0.0.1", key, secret)
			s.untilMetric(`keytrail_http_refused_total{limit="streams_per_key"} 2`)
			s.untilMetric(`keytrail_http_refused_total{limit="streams"} 1`)
		})
	}
}

// untilMetric waits until the metrics have a line.
func (s *service) untilMetric(line string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	for {
		_, _, text := s.do("", "GET", "/metrics", "")
		if strings.Contains(text+"\n", "\n"+line+"\n") {
			return
		}
		select {
		case <-ctx.Done():
			s.t.Fatalf("the metrics never had %s", line)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// One address holds half of the in-flight slots at most, but for a proxy that names its clients.
func TestOneAddressCannotHoldEverySlot(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	s := startWith(t, before(func(ctx context.Context, _, _ string) error {
		select {
		case <-release:
		case <-ctx.Done():
		}
		return ctx.Err()
	}), func(o *api.Options) {
		o.Limits = api.Limits{InFlight: 4}
		o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.9/32")}
	})
	id, secret := s.create(s.root, `{"org_id":"`+s.org("acme")+`","name":"n"}`)
	revoke := "POST /v1/keys/" + id + "/revoke HTTP/1.1\nHost: x\nX-Forwarded-For: %s\nAuthorization: Bearer " + s.root + "\n\n"
	refused := func(address, client, want string) {
		t.Helper()
		c := s.dial(address)
		if err := c.send(revoke, client); err != nil {
			t.Fatal(err)
		}
		if got := c.status(t); got != want {
			t.Errorf("%s for %s: %s", address, client, got)
		}
	}
	hold := func(n int, address, client string) {
		for range n {
			if err := s.dial(address).send(revoke, client); err != nil {
				t.Fatal(err)
			}
		}
	}
	hold(2, "127.0.0.2", "198.51.100.1")
	s.untilMetric("keytrail_http_in_flight 2")
	refused("127.0.0.2", "198.51.100.2", "429 Too Many Requests") // it cannot say that it is another
	s.alive("127.0.0.1", s.root, secret)
	hold(2, "127.0.0.9", "198.51.100.3")
	s.untilMetric("keytrail_http_in_flight 4")
	refused("127.0.0.9", "198.51.100.3", "429 Too Many Requests")
	refused("127.0.0.9", "198.51.100.4", "503 Service Unavailable") // all are taken
	close(release)
	s.untilMetric("keytrail_http_in_flight 0")
	s.untilMetric(`keytrail_http_refused_total{limit="in_flight_per_address"} 2`)
	s.untilMetric(`keytrail_http_refused_total{limit="in_flight"} 1`)
}
