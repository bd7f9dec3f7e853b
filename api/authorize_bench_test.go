package api_test

import (
	"bytes"
	"io"
	"net/http"
	"net/netip"
	"testing"

	"github.com/keytrail/keytrail/api"
	"github.com/keytrail/keytrail/verify"
)

// A discard is an answer that nobody reads.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(status int)      { d.status = status }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }

// BenchmarkAuthorize is a gateway's question from the handler on, without HTTP: one that is
// allowed, also in a keyspace with all there is to look at, and one that is refused before a look-up.
func BenchmarkAuthorize(b *testing.B) {
	s := startWith(b, nil, func(o *api.Options) {
		o.Verifier = verify.New(o.Store, o.Ledger, verify.Options{Durability: verify.Relaxed})
		o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	})
	org := s.org("acme")
	s.keyspace("full", `,"gateway":{"record_resource":true,"demands":["scope"],"rate_limit_headers":["x-ratelimit"]},"requirements":[{"attribute":"plan"}]`)
	s.must(s.root, "PUT", "/v1/owners/user_42/attributes?org_id="+org, `{"plan":"pro"}`)
	_, plain := s.key("default", org, `,"owner":"user_42","scopes":["a:read"]`)
	_, full := s.key("full", org, `,"owner":"user_42","scopes":["a:read","b:read"],"allowed_cidrs":["192.0.2.0/24","127.0.0.0/8"],"rate_limits":[{"limit":1000000000,"window":"1h"},{"limit":1000000000,"window":"1m"}]`)
	for _, c := range []struct {
		name, keyspace, key string
		status              int
	}{{"allowed", "default", plain, 200}, {"allowed-full", "full", full, 200}, {"refused", "default", "nonsense", 401}} {
		b.Run(c.name, func(b *testing.B) {
			r, err := http.NewRequest("GET", "/v1/authorize/"+c.keyspace+"/orders/7?page=2", nil)
			if err != nil {
				b.Fatal(err)
			}
			r.RemoteAddr = "127.0.0.1:50000"
			r.Header = http.Header{"Authorization": {"Bearer " + c.key}, "X-Keytrail-Scope": {"a:read"}, "User-Agent": {"curl/8"}, "Accept": {"*/*"}}
			b.ReportAllocs()
			for b.Loop() {
				w := discard{header: http.Header{}}
				s.handler.ServeHTTP(&w, r)
				if w.status != c.status {
					b.Fatal(w.status)
				}
			}
		})
	}
	b.Run("verify", func(b *testing.B) { // to compare with
		body := []byte(`{"key":"` + plain + `","scopes":["a:read"],"ip":"127.0.0.1"}`)
		r, err := http.NewRequest("POST", "/v1/verify", nil)
		if err != nil {
			b.Fatal(err)
		}
		r.RemoteAddr = "127.0.0.1:50000"
		r.Header = http.Header{"Authorization": {"Bearer " + s.root}, "User-Agent": {"curl/8"}, "Accept": {"*/*"}}
		b.ReportAllocs()
		for b.Loop() {
			r.Body = io.NopCloser(bytes.NewReader(body))
			w := discard{header: http.Header{}}
			s.handler.ServeHTTP(&w, r)
		}
	})
}
