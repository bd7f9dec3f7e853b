package eventstore

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nuid"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/internal/fastjson"
)

// FuzzScanUse holds the scanner to encoding/json, in all members.
func FuzzScanUse(f *testing.F) {
	for _, text := range []string{"r", "", "Ü", "\"q\"", "\xff", "a\\b", "\x1f", "line\n"} {
		for _, u := range fullUses(text) {
			var b UseBatch
			b.Add("org_o", &domain.KeyUsed{}, 6)
			before := b.Size()
			b.Add("org_o", &u, 7)
			f.Add(strings.TrimSuffix(string(b.lines[before:]), "\n"))
		}
	}
	for _, line := range []string{
		`{}`, ``, `null`, `{"org":"o","kind":"key","id":"k","code":"VALID","time":6,"request_id":"\"quoted\""}`,
		`{"org":"o","kind":"key","id":"k","code":"c","time":01}`, `{"org":"o","code":"NOT_FOUND","time":1,"by":"p","count":2,"first":1}`,
		`{"org":"o","kind":"key","id":"k","code":"c","time":1,"count":1,"first":9,"addresses":[],"resources":["r"]}`,
	} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		var fast, slow useLine
		s := fastjson.NewScanner(line)
		if !fast.scanHead(&s) || !fast.scanRest(&s) || !s.End() {
			return
		}
		if err := json.Unmarshal([]byte(line), &slow); err != nil {
			t.Fatalf("the scanner reads %q, encoding/json: %v", line, err)
		}
		if !reflect.DeepEqual(fast, slow) {
			t.Fatalf("%q is read as %+v, encoding/json has %+v", line, fast, slow)
		}
	})
}

// fullUses have each member between them.
func fullUses(text string) []domain.KeyUsed {
	at := time.UnixMilli(1763640000123).UTC()
	return []domain.KeyUsed{
		{Key: "key_k", Code: "VALID", Scopes: []string{"a:b", text}, IP: "::1", Principal: "key_p", RequestID: text, Resource: text, Cost: 3, Windows: []int64{60000, 1}, At: at},
		{Key: "key_k", Code: "REVOKED", Principal: text, At: at, Count: 3, First: at.Add(-time.Second), Addresses: []string{"::1", text}, Resources: []string{"GET /a", text}},
		{Key: "key_k", Code: "EXPIRED", At: at},
	}
}

// TestUsesAreReadAsTheyWereWritten: of several organizations, with text that needs escapes, and
// with a position of their own where it is another one than the message's.
func TestUsesAreReadAsTheyWereWritten(t *testing.T) {
	var b UseBatch
	type written struct {
		org     domain.OrgID
		event   domain.Event
		decided Position
	}
	var all []written
	for i, text := range []string{"plain", "\"quoted\"", "in two\nlines", ""} {
		for _, u := range fullUses(text) {
			w := written{domain.NewOrgID(fmt.Sprint(i)), u, Position(7 + i)}
			if text == "" && len(u.Scopes) > 0 {
				u.Scopes[1] = "c"
			}
			b.Add(w.org, &u, w.decided)
			all = append(all, w)
		}
		c := domain.CredentialsRefused{Principal: "key_p", Count: 1, From: time.UnixMilli(1).UTC(), To: time.UnixMilli(2).UTC()}
		b.AddRefused(domain.Installation, &c, 9)
		all = append(all, written{domain.Installation, c, 9})
	}
	m := usesMessage("n\"1", &b)
	stored := &Raw{Position: 17, Header: m.Header, Data: m.Data}
	records, err := appendUses(nil, stored, nil)
	if err != nil || len(records) != len(all) {
		t.Fatalf("%d of %d uses are read: %v", len(records), len(all), err)
	}
	for i, r := range records {
		if w := all[i]; r.Org != w.org || !reflect.DeepEqual(r.Event, w.event) || r.Decided != w.decided || r.Node != "n\"1" || r.Identity() != fmt.Sprintf("17.%d", i) {
			t.Errorf("use %d is read as %+v, want %+v", i, r, w)
		}
	}

	some, err := appendUses(nil, stored, func(_ Position, _ int, u *useLine) bool { return u.Org == all[4].org && u.Code == "REVOKED" })
	if err != nil || len(some) != 1 || !reflect.DeepEqual(some[0], records[5]) {
		t.Errorf("of one organization and outcome: %+v, %v", some, err)
	}
}

// A message that is not one of ours is refused, whatever it is, and takes no memory.
func TestOtherMessagesAreNoUses(t *testing.T) {
	var b UseBatch
	b.Add("org_o", &domain.KeyUsed{Key: "key_k", Code: "VALID"}, 1)
	good := usesMessage("n", &b)
	bomb := compress(make([]byte, 2*maxBody))
	for name, m := range map[string]Raw{
		"not compressed":  {Header: good.Header, Data: b.appendBody(nil, "n")},
		"no encoding":     {Data: good.Data},
		"cut off":         {Header: good.Header, Data: good.Data[:len(good.Data)-3]},
		"too large":       {Header: good.Header, Data: bomb},
		"empty":           {Header: good.Header},
		"an unknown kind": {Header: good.Header, Data: compress([]byte("{\"node\":\"n\",\"position\":1}\n{\"org\":\"o\",\"kind\":\"robot\",\"id\":\"r\",\"code\":\"VALID\",\"time\":1}\n"))},
		"not a use":       {Header: good.Header, Data: compress([]byte("{\"node\":\"n\",\"position\":1}\n{}\n"))},
		"not JSON":        {Header: good.Header, Data: compress([]byte("{\"node\":\"n\",\"position\":1}\nVALID\n"))},
	} {
		if records, err := appendUses(nil, &m, nil); err == nil || !strings.Contains(err.Error(), "uses position") {
			t.Errorf("%s: read as %+v, %v", name, records, err)
		}
	}
}

// TestAUseIsSmall: 48 uses of random keys, requests and addresses take 60 bytes each at most, with
// what JetStream adds to a message: 30 bytes, its subject and its headers.
func TestAUseIsSmall(t *testing.T) {
	const uses = 48
	var b UseBatch
	random := rand.New(rand.NewPCG(1, 2))
	for i := range uses {
		u := benchmarkUse()
		u.Key = domain.NewKeyID("", fmt.Sprint(i))
		u.IP = fmt.Sprintf("%d.%d.%d.%d", random.IntN(256), random.IntN(256), random.IntN(256), random.IntN(256))
		u.RequestID = nuid.Next() + fmt.Sprintf("%08x", random.Uint32())
		u.At = u.At.Add(time.Duration(i) * time.Millisecond / 4)
		b.Add(domain.NewOrgID("o"), &u, 7)
	}
	m := usesMessage("node-1.example", &b)
	stored := 30 + len(m.Subject) + len(encodeHeader(m.Header)) + len(m.Data)
	if stored > 60*uses {
		t.Errorf("a use takes %d bytes", stored/uses)
	}
	t.Logf("%.1f bytes a use", float64(stored)/uses)
}

// benchmarkUses is a message of 200 uses as a busy service writes them.
func benchmarkUses() *UseBatch {
	b := &UseBatch{}
	u := benchmarkUse()
	for range 200 {
		b.Add(domain.NewOrgID("o"), &u, 7)
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
	u, org := benchmarkUse(), domain.NewOrgID("o")
	b.ReportAllocs()
	for b.Loop() {
		if !batch.Add(org, &u, 7) {
			batch.Reset()
		}
	}
}

// BenchmarkCompressUses is what a message of 200 uses costs before it is sent.
func BenchmarkCompressUses(b *testing.B) {
	uses := benchmarkUses()
	b.ReportAllocs()
	for b.Loop() {
		usesMessage("node-1", uses)
	}
}

// BenchmarkDecodeUses is what a replay pays for a message of 200 uses beside reading it.
func BenchmarkDecodeUses(b *testing.B) {
	m := usesMessage("node-1", benchmarkUses())
	raw := &Raw{Header: m.Header, Data: m.Data}
	records, err := appendUses(nil, raw, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if records, err = appendUses(records[:0], raw, nil); err != nil {
			b.Fatal(err)
		}
	}
}
