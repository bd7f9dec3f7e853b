package strictjson

import (
	"encoding/json"
	"reflect"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"
)

type inner struct {
	Limit int `json:"limit"`
}

type embedded struct {
	Org string `json:"org_id"`
}

type request struct {
	embedded
	Name   string            `json:"name,omitempty"`
	Limits []inner           `json:"limits"`
	One    *inner            `json:"one"`
	Free   map[string]string `json:"free"`
	When   time.Time         `json:"when"`
	Any    any               `json:"any"`
}

func TestWhatTwoReadersMayTakeDifferentlyIsRefused(t *testing.T) {
	for text, path := range map[string]string{
		`{"name":"a","name":"b"}`:              "name",
		`{"name":"a","n\u0061me":"b"}`:         "name",
		`{"NAME":"a"}`:                         "NAME",
		`{"Org_id":"a"}`:                       "Org_id",
		`{"limits":[{"limit":1},{"LIMIT":1}]}`: "limits[1].LIMIT",
		`{"one":{"limit":1,"limit":2}}`:        "one.limit",
		`{"free":{"a":"","a":""}}`:             "free.a",
		`{"any":{"x":[{"y":1,"y":1}]}}`:        "any.x[0].y",
		`{"name":"\ud800"}`:                    "",
		`{"name":"\udc00"}`:                    "",
		`{"name":"\ud800\ud800\udc00"}`:        "",
		`{"name":"\\\ud800x"}`:                 "",
		strings.Repeat(`{"any":`, 50) + "1" + strings.Repeat("}", 50): strings.TrimSuffix(strings.Repeat("any.", maxDepth+1), "."),
	} {
		err, ok := Check([]byte(text), reflect.TypeFor[request]()).(*Error)
		if strings.Contains(text, `{"any":{"any"`) {
			err, ok = Check([]byte(text), nil).(*Error)
		}
		if !ok || err.Path != path {
			t.Errorf("%s: %v, want %q", text, err, path)
		}
	}
}

func TestWhatIsPlainOrNoJSONAtAllIsLeftToTheDecoder(t *testing.T) {
	for _, text := range []string{
		`{"org_id":"a","name":"b","limits":[{"limit":1}],"one":null,"free":{"Name":"a","name":"b"},"when":"2026-01-01T00:00:00Z"}`,
		`{"name":"\ud83d\ude00 \\ud800 \\\\"}`, `[]`, `7`, `"x"`, `null`, ``, `{`, `{"name"`, `{"name":}`, `{"name":1,`, `[1,`, `[1 2]`, `{1:2}`, `[}`, `{]`, "\xff", `"\`, `"\u12`,
	} {
		if err := Check([]byte(text), reflect.TypeFor[request]()); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// What passes loses nothing in encoding/json: it has as many members as colons.
func FuzzCheck(f *testing.F) {
	for _, text := range []string{`{"name":"a","limits":[{"limit":1}]}`, `{"a":{"b":[1,{"c":"\ud83d\ude00:"}]}}`, `{"a":1,"a":2}`, `[[`, `{"a`, `{"a":"\ud800"}`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var v any
		if Check([]byte(text), nil) != nil || json.Unmarshal([]byte(text), &v) != nil {
			return
		}
		bare := regexp.MustCompile(`"(\\.|[^"\\])*"`).ReplaceAllString(text, "")
		if sent, got := strings.Count(bare, ":"), membersOf(v); sent != got {
			t.Errorf("%q has %d members, and %d arrived", text, sent, got)
		}
	})
}

func membersOf(v any) (n int) {
	switch v := v.(type) {
	case map[string]any:
		for _, m := range v {
			n += 1 + membersOf(m)
		}
	case []any:
		for _, m := range v {
			n += membersOf(m)
		}
	}
	return n
}

// The names above a value are not copied for each value.
func TestALongNameAboveManyValuesCostsNoMore(t *testing.T) {
	text := []byte(`{"` + strings.Repeat("a", 100_000) + `":[{"x":[` + strings.Repeat("0,", 50_000) + `0,{"y":1,"y":1}]}]}`)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err, ok := Check(text, nil).(*Error)
	runtime.ReadMemStats(&after)
	if !ok || !strings.HasSuffix(err.Path, "a[0].x[50001].y") {
		t.Fatal("the member that is there twice was not found")
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > 200*uint64(len(text)) {
		t.Errorf("%d bytes took %d", len(text), took)
	}
}
