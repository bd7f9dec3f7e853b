package eventstore

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/keytrail/keytrail/domain"
)

// FuzzScanUses holds the scanner to encoding/json, in all members.
func FuzzScanUses(f *testing.F) {
	var b UseBatch
	for _, id := range []string{"r", "", "Ü", "\"q\"", "\xff", "a\\b", "\x1f"} {
		b.Add(&domain.KeyUsed{Key: "k", Code: "VALID", Scopes: []string{"a:b", id}, IP: "::1", Principal: "p", RequestID: id, Windows: []int64{60000, 1}, At: time.UnixMilli(5)})
		f.Add(string(b.body()))
		b.Reset()
		b.Add(&domain.KeyUsed{Key: "k", Code: "REVOKED", Principal: id, At: time.UnixMilli(5), Count: 3, First: time.UnixMilli(4), Addresses: []string{"::1", id}})
		f.Add(string(b.body()))
		b.Reset()
	}
	f.Add(`[]`)
	f.Add(`[{"key_id":"k","code":"VALID","time":6,"request_id":"\"quoted\""}]`)
	f.Add(`[{"key_id":"k","code":"c","time":01}]`)
	f.Add(`[{"key_id":"k","code":"c","time":1,"count":2}]`)
	f.Add(`[{"key_id":"k","code":"c","time":1,"count":1,"first":9,"addresses":[]}]`)
	f.Fuzz(func(t *testing.T, body string) {
		fast, ok := scanUses(nil, Record{}, body)
		if !ok {
			return
		}
		var slow []useOnWire
		if err := json.Unmarshal([]byte(body), &slow); err != nil {
			t.Fatalf("the scanner reads %q, encoding/json: %v", body, err)
		}
		if len(slow) != len(fast) {
			t.Fatalf("%d uses in %q, encoding/json has %d", len(fast), body, len(slow))
		}
		for i := range slow {
			if want := useRecord(Record{}, i, &slow[i]); !reflect.DeepEqual(fast[i], want) {
				t.Fatalf("use %d of %q is %+v, encoding/json has %+v", i, body, fast[i], want)
			}
		}
	})
}

// As with key.created, what is written must be what the scanner reads.
func TestTheScannerReadsUses(t *testing.T) {
	var b UseBatch
	b.Add(&domain.KeyUsed{Key: "k", Code: "VALID", Scopes: []string{"a:b"}, IP: "::1", Principal: "p", RequestID: "r", Windows: []int64{60000}, At: time.Now()})
	b.Add(&domain.KeyUsed{Key: "k", Code: "REVOKED", At: time.Now(), Count: 2, First: time.Now(), Addresses: []string{"::1", "192.0.2.1"}})
	if _, ok := scanUses(nil, Record{}, string(b.body())); !ok {
		t.Errorf("the fast path does not take %s", b.body())
	}
}

// benchmarkUses is a message of 200 uses as a busy service writes them.
func benchmarkUses() *UseBatch {
	b := &UseBatch{}
	u := benchmarkUse()
	for range 200 {
		b.Add(&u)
	}
	return b
}

func benchmarkUse() domain.KeyUsed {
	return domain.KeyUsed{Key: domain.NewKeyID("", "k"), Code: domain.UseValid, Scopes: []string{"invoices:read"}, IP: "192.0.2.17",
		Principal: string(domain.NewKeyID("", "p")), RequestID: "01JD8QZX3M6V7Y4T2N5R8W9ABC", Windows: []int64{60000}, At: time.UnixMilli(1763640000123)}
}

// BenchmarkEncodeUse is what recording a verification pays for each use.
func BenchmarkEncodeUse(b *testing.B) {
	var batch UseBatch
	u := benchmarkUse()
	b.ReportAllocs()
	for b.Loop() {
		if !batch.Add(&u) {
			batch.Reset()
		}
	}
}

// BenchmarkDecodeUses is what a replay pays for a message of 200 uses beside reading it.
func BenchmarkDecodeUses(b *testing.B) {
	body := benchmarkUses().body()
	records, err := appendUses(nil, Record{}, body)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if records, err = appendUses(records[:0], Record{}, body); err != nil {
			b.Fatal(err)
		}
	}
}
