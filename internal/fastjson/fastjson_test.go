package fastjson

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// A document has a member for each kind of value that a Scanner reads.
type document struct {
	Name    string            `json:"name"`
	Owner   string            `json:"owner,omitempty"`
	Count   int64             `json:"count"`
	Scopes  []string          `json:"scopes"`
	Windows []int64           `json:"windows,omitempty"`
	Labels  map[string]string `json:"labels,omitempty"`
}

// scanInOrder reads a document in this package's own spelling, as the ledger's are read.
func scanInOrder(text string) (d document, ok bool) {
	s := NewScanner(text)
	ok = s.Member(`{"name":`, &d.Name) && s.OptionalMember(`,"owner":`, &d.Owner) && s.Literal(`,"count":`) && s.Int(&d.Count) &&
		s.Literal(`,"scopes":`) && s.Strings(&d.Scopes) && (!s.Literal(`,"windows":`) || s.Ints(&d.Windows)) &&
		(!s.Literal(`,"labels":`) || d.scanLabels(&s)) && s.Literal("}") && s.End()
	return d, ok
}

// scanAny reads a document in any spelling, as the body of a request is read.
func scanAny(text string) (d document, ok bool) {
	s := NewScanner(text)
	seen := map[string]bool{}
	ok = s.Object(func(name string) bool {
		if seen[name] {
			return false
		}
		seen[name] = true
		switch name {
		case "name":
			return s.String(&d.Name)
		case "owner":
			return s.String(&d.Owner)
		case "count":
			return s.Int(&d.Count)
		case "scopes":
			return s.Strings(&d.Scopes)
		case "windows":
			return s.Ints(&d.Windows)
		case "labels":
			return d.scanLabels(&s)
		}
		return false
	})
	return d, ok && s.End()
}

func (d *document) scanLabels(s *Scanner) bool {
	d.Labels = map[string]string{}
	return s.Object(func(name string) bool {
		var value string
		ok := s.String(&value)
		d.Labels[name] = value
		return ok
	})
}

func (d *document) append(b []byte) []byte {
	b = AppendMember(b, `{"name":`, d.Name)
	b = AppendOptionalMember(b, `,"owner":`, d.Owner)
	b = AppendIntMember(b, `,"count":`, d.Count)
	b = AppendStrings(append(b, `,"scopes":`...), d.Scopes)
	b = AppendInts(append(b, `,"windows":`...), d.Windows)
	return append(b, '}')
}

var texts = []string{"ci", "Schlüssel", "鍵", "a\"b", "a\\b", "<&>", "\x7f", "tab\t", "bad \xff", "", "Ü", "\xff", "\x1f", "printable ASCII of 8 bytes and more",
	"seven b\"", "eight by\\", "nine byte\n", "0123456é", "[\\]^!\"#$", "\u2028"}

// FuzzScanner holds the scanner to encoding/json: what it reads at all, it reads as the same.
func FuzzScanner(f *testing.F) {
	for _, text := range texts {
		for _, d := range []document{{Name: text, Scopes: []string{"a:b", text}, Windows: []int64{60000, 1}}, {Owner: text, Count: 3, Labels: map[string]string{text: "b", "c": text}}} {
			marshalled, err := json.Marshal(d)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(marshalled))
			f.Add(string(d.append(nil)))
		}
	}
	for _, text := range []string{
		`{"name":"n","count":1,"scopes":[]}`, ` { "name" : "n" , "scopes" : [ "a:read" , "b:*" ] , "count" : 0 , "labels" : { } } ` + "\n\t\r",
		`{"name":"n","count":01,"scopes":[]}`, `{"name":"n","count":-1}`, `{"count":1.5}`, `{"count":1e3}`, `{"count":999999999999999999}`, `{"count":9999999999999999999}`,
		`{"name":"n","name":"m"}`, `{"NAME":"n"}`, `{"name":null}`, `{"name":"n",}`, `{"scopes":["a",]}`, `{"scopes":[,]}`, `{"scopes":null}`, `{"windows":[1 2]}`, `{"labels":{"a":"b","a":"c"}}`,
		`{"name":"\u006e"}`, `{"name":"n"} {}`, `{"name":"n"`, `{"name"`, `{`, `{}`, `[]`, ``,
		"{\"name\":\"bad \xff\",\"count\":1,\"scopes\":[]}", "{\"name\":\"bad \x80 in eight\",\"count\":1,\"scopes\":[]}", "{\"name\":\"line\nin two\",\"count\":1,\"scopes\":[]}",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for name, scan := range map[string]func(string) (document, bool){"in order": scanInOrder, "any": scanAny} {
			fast, ok := scan(text)
			if !ok {
				continue
			}
			var slow document
			if err := json.Unmarshal([]byte(text), &slow); err != nil {
				t.Fatalf("%s: the scanner reads %q, encoding/json: %v", name, text, err)
			}
			if !reflect.DeepEqual(fast, slow) {
				t.Fatalf("%s: %q is read as %+v, encoding/json has %+v", name, text, fast, slow)
			}
		}
	})
}

// A text in the part of JSON that the scanner reads must not go the slow way.
func TestTheScannerReadsItsPart(t *testing.T) {
	for _, text := range []string{`{"name":"n","owner":"Größe","count":999999999999999999,"scopes":["a:b"],"windows":[60000,0],"labels":{"a":"b"}}`, `{"name":"","count":0,"scopes":[]}`} {
		if _, ok := scanInOrder(text); !ok {
			t.Errorf("%s is not read in order", text)
		}
	}
	for _, text := range []string{`{}`, " {\t\"scopes\"\n:\r[ \"a\" ,\"b\" , \"c\" ] , \"labels\" : { } , \"count\" :7 } \n\t\r"} {
		if _, ok := scanAny(text); !ok {
			t.Errorf("%s is not read", text)
		}
	}
}

// FuzzAppend holds what is written to encoding/json, and to the scanner: it must take all that
// needs no escapes.
func FuzzAppend(f *testing.F) {
	for i, text := range texts {
		f.Add(text, text, int64(i))
	}
	f.Fuzz(func(t *testing.T, name, scope string, n int64) {
		d := document{Name: name, Owner: scope, Count: n, Scopes: []string{scope, name}, Windows: []int64{n, 0}}
		text := string(d.append(nil))
		marshalled, _ := json.Marshal(d)
		var got, want document
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if err := json.Unmarshal(marshalled, &want); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%+v is written as %q", d, text)
		}
		if _, ok := scanInOrder(text); !ok && !strings.Contains(text, `\`) && 0 <= n && n < 1e18 {
			t.Errorf("the scanner does not read %q", text)
		}
	})
}
