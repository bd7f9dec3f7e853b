package api

import (
	"reflect"
	"testing"

	"github.com/keytrail/keytrail/verify"
)

// FuzzVerifyBody holds the scanner of the hot path to encoding/json: a body that it takes
// is one that encoding/json takes, with the same values.
func FuzzVerifyBody(f *testing.F) {
	for _, body := range []string{
		`{"key":"k"}`, ` { "key" : "k" , "scopes" : [ "a:read" , "b:*" ] , "ip" : "192.0.2.1" , "keyspace" : "default" } ` + "\n",
		`{"key":"k","resource":"GET /","cost":2,"org_id":"o"}`, `{"key":"k","cost":0}`, `{"key":"k","cost":-1}`, `{"key":"k","cost":1e3}`, `{"key":"k","cost":null}`, `{"key":"k","cost":9999999999999999999}`,
		`{"key":"k","scopes":[]}`, `{"key":"k","scopes":null}`, `{"KEY":"k"}`, `{"key":"a","key":"b"}`, `{"key":"\u006b"}`, `{"key":"é"}`,
		`{"key":"k","ip":"fe80::1%eth0"}`, `{"key":"k","ip":"::ffff:192.0.2.1"}`, `{"key":"k","other":1}`, `{"key":1}`, `{"key":"k"} {}`,
		`{"key":"k",}`, `{"key":"k","scopes":["a"]}`, `{}`, `[]`, ``, `{"key":"k"`, "{\"key\":\"\x01\"}", "{\"key\":\"\xff\"}",
	} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		var fast, slow verify.Request
		fastTexts, ok := scanVerify(body, &fast)
		if !ok {
			return
		}
		slowTexts, err := decodeVerify([]byte(body), &slow)
		if err != nil {
			t.Fatalf("the scanner takes %q, encoding/json: %v", body, err)
		}
		if slowTexts != fastTexts || slow.Resource != fast.Resource || slow.Cost != fast.Cost || slow.Secret != fast.Secret || slow.Keyspace != fast.Keyspace ||
			len(slow.Scopes)+len(fast.Scopes) > 0 && !reflect.DeepEqual(slow.Scopes, fast.Scopes) {
			t.Fatalf("%q is read as %+v with %+v, encoding/json has %+v", body, fast, fastTexts, slow)
		}
	})
}

// The usual body must not take the slow way.
func TestTheScannerTakesTheUsualBody(t *testing.T) {
	if _, ok := scanVerify(`{"key":"kt_live_x","scopes":["a:read"],"ip":"192.0.2.1","keyspace":"default","resource":"GET /v1/x?a=b","cost":5,"org_id":"org_x"}`, new(verify.Request)); !ok {
		t.Error("the fast path does not take it")
	}
}

// BenchmarkParseVerify is what a verification pays for reading its body.
func BenchmarkParseVerify(b *testing.B) {
	body := []byte(`{"key":"kt_live_4rGmQ7cXb2VnT9pLwZ8sYd1KfHjN3aE6uR5oMxBvCqS","scopes":["invoices:read","invoices:write"],"ip":"192.0.2.17","keyspace":"default"}`)
	var r verify.Request
	b.ReportAllocs()
	for b.Loop() {
		r = verify.Request{Scopes: r.Scopes[:0]}
		if err := new(server).parseVerify(body, &r); err != nil {
			b.Fatal(err)
		}
	}
}
