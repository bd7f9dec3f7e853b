package eventstore

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/keytrail/keytrail/domain"
)

// TestAUseIsWrittenAsEncodingJSONWritesIt: by hand, with each field set alone, with all and
// with none, and with texts that need escapes.
func TestAUseIsWrittenAsEncodingJSONWritesIt(t *testing.T) {
	at := time.UnixMilli(1763640000123).UTC()
	all := domain.KeyUsed{Key: "key_x", Code: domain.UseRevoked, Scopes: []string{"a:b", "<&>"}, IP: "::1", Principal: "p", RequestID: "r\"ü\xff",
		Resource: "res", Cost: 2, Windows: []int64{60000, 0}, At: at, Count: 3, First: at.Add(-time.Second), Addresses: []string{"192.0.2.1"}, Resources: []string{"GET /<a>"}}
	uses := []domain.KeyUsed{all, {At: at}}
	for i := range reflect.TypeFor[domain.KeyUsed]().NumField() {
		one := domain.KeyUsed{At: at}
		reflect.ValueOf(&one).Elem().Field(i).Set(reflect.ValueOf(all).Field(i))
		uses = append(uses, one)
	}
	for _, u := range uses {
		for _, r := range []Record{
			{Stream: Uses, Type: typeUsed, ID: "i", Time: at, Event: u},
			{Stream: Uses, Type: typeUsed, ID: "i", Time: at, Event: u, Position: 17, Index: 3, Org: "org_a", Subject: "key_x", Node: "n\\1", Decided: 9,
				Command: Command{Actor: "a", Correlation: "<c>"}},
		} {
			want, err := r.CloudEvent()
			if err != nil {
				t.Fatal(err)
			}
			got, err := r.AppendCloudEvent([]byte("before"))
			unescaped := strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&")
			if err != nil || unescaped.Replace(string(got)) != "before"+unescaped.Replace(string(want)) {
				t.Errorf("it is\n%s, not\n%s: %v", got, want, err)
			}
		}
	}
}
