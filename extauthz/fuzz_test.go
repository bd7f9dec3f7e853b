package extauthz_test

import (
	"net/http"
	"strings"
	"testing"

	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"

	"github.com/keytrail/keytrail/extauthz"
)

// Whatever a call says, it is answered, and becomes a request of forward authentication in which
// nothing of the client's can be taken for its gateway's.
func FuzzCheck(f *testing.F) {
	for _, a := range []*auth.AttributeContext{{}, {ContextExtensions: map[string]string{"keyspace": "a/b", "scope": "x y", "": ""}, Source: address("::1"),
		Request: httpRequest(&auth.AttributeContext_HttpRequest{Method: "GET", Path: "/x", Headers: map[string]string{"x-keytrail-scope": "a", "X_KEYTRAIL_scope": "b", "x-forwarded-uri": "/y", ":path": "/"}})}} {
		call, err := proto.Marshal(&auth.CheckRequest{Attributes: a})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(call)
	}
	f.Fuzz(func(t *testing.T, call []byte) {
		in := new(auth.CheckRequest)
		if proto.Unmarshal(call, in) != nil {
			return
		}
		asked := 0
		answer, err := extauthz.Check(t.Context(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked++
			if !strings.HasPrefix(r.URL.EscapedPath(), "/v1/authorize/") || strings.Count(r.URL.EscapedPath(), "/") != 3 {
				t.Errorf("it asks %s", r.URL)
			}
			for name := range r.Header {
				if strings.HasPrefix(strings.ReplaceAll(strings.ToLower(name), "_", "-"), "x-keytrail-") || strings.HasPrefix(name, "X-Original-") {
					t.Errorf("%q is in it", name)
				}
			}
			if len(r.Header["X-Forwarded-Method"]) != 1 || len(r.Header["X-Forwarded-Uri"]) != 1 {
				t.Error(r.Header)
			}
			w.WriteHeader(403)
		}), in)
		if err != nil || answer.GetStatus().GetCode() == 0 || asked != 1 {
			t.Error(answer, err, asked)
		}
	})
}
