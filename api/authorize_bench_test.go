package api_test

import (
	"net/http"
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
// allowed, and one that is refused before a look-up.
func BenchmarkAuthorize(b *testing.B) {
	s := startWith(b, nil, func(o *api.Options) {
		o.Verifier = verify.New(o.Store, o.Ledger, verify.Options{Durability: verify.Relaxed})
	})
	_, secret := s.create(s.root, `{"org_id":"`+s.org("acme")+`","name":"n","owner":"user_42","scopes":["a:read"]}`)
	for name, c := range map[string]struct {
		key    string
		status int
	}{"allowed": {secret, 200}, "refused": {"nonsense", 401}} {
		b.Run(name, func(b *testing.B) {
			r, err := http.NewRequest("GET", "/v1/authorize/default/orders/7?page=2", nil)
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
}
