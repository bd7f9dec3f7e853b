package documents

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
	"pgregory.net/rapid"
)

const head = "kind: keyspace\nname: a\n"

func read(t *testing.T, text string) []Document {
	t.Helper()
	all, err := Read("f", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// fields are those of a document as JSON.
func fields(t *testing.T, d Document) string {
	t.Helper()
	b, err := json.Marshal(d.Fields)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestBothSpellingsAreRead(t *testing.T) {
	for text, want := range map[string]string{
		head: `{}`,
		head + "i: 10\nf: 1.5\nb: True\nn: null\nt: ~\ne:\nq: '7'\nd: 24h\nw: 2026-01-01\no: yes\np: {for: [A, \"b\\n\"], on: header:X-Key}\nl: |\n  x\n  y\n": `{"b":true,"d":"24h","e":null,"f":1.5,"i":10,"l":"x\ny\n","n":null,"o":"yes","p":{"for":["A","b\n"],"on":"header:X-Key"},"q":"7","t":null,"w":"2026-01-01"}`,
		"\ufeff" + head + "a: 😀": `{"a":"😀"}`,
		"{\r\n\t\"kind\":\"keyspace\",\"name\":\"a\",\n\t\"a\":\"\\ud83d\\ude00\\/\\\\ud83d\\u00e9\",\"n\":-1e3,\"b\":[true,null,{}]}\n": `{"a":"😀/\\ud83dé","b":[true,null,{}],"n":-1e3}`,
	} {
		if all := read(t, text); len(all) != 1 || all[0].Kind != "keyspace" || all[0].Name != "a" || fields(t, all[0]) != want {
			t.Errorf("%q is read as %+v", text, all)
		}
	}
}

func TestSeveralDocumentsAreRead(t *testing.T) {
	for text, lines := range map[string][]int{
		"# first\n---\n" + head + "---\n# nothing\n---\n\n" + head + "...\n":  {3, 9},
		"- kind: keyspace\n  name: a\n-\n  kind: plan\n  name: b\n":           {1, 4},
		"[{\"kind\":\"a\",\"name\":\"b\"},\n{\"kind\":\"a\",\"name\":\"b\"}]": {1, 2},
	} {
		all := read(t, text)
		if len(all) != len(lines) {
			t.Fatalf("%q has %d documents", text, len(all))
		}
		for i, d := range all {
			if d.Line != lines[i] {
				t.Errorf("%q: document %d is on line %d", text, i, d.Line)
			}
		}
	}
}

func TestWhatIsNotReadAlikeIsRefusedByItsLine(t *testing.T) {
	for text, want := range map[string]string{
		"":                              "f: there is no document in it",
		"# x\n---\n":                    "f: there is no document in it",
		"name: a":                       "f:1: kind: is required",
		"kind: keyspace\n":              "f:1: name: is required",
		"kind: 7\nname: a":              "f:1: kind: must be text",
		"kind: k\n\nname: \"\"":         "f:3: name: must be text",
		"hello":                         "f:1: a document must be an object",
		head + "---\n- 7":               "f:4: a document must be an object",
		head + "a: 1\nb: 2\na: 3":       "f:5: a: is there twice, first on line 3",
		head + "a:\n  - b: 1\n    b: 2": "f:5: a[0].b: is there twice, first on line 4",
		`{"kind":"k","name":"a",` + "\n" + `"a":1,"a":2}`: "f:2: a: is there twice",
		head + "a: &x [1]\nb: *x":                         "f:3: a: must be written out",
		head + "a: *x":                                    "f:3: unknown anchor",
		head + "a:\n  <<: {b: 1}":                         "f:4: a: must be written out: merge",
		head + "&x a: 1":                                  "f:3: has a name that is not text",
		head + "7: a":                                     "f:3: has a name that is not text",
		head + "true: a":                                  "f:3: has a name that is not text",
		head + "a:\n  ? [b]\n  : c":                       "f:4: a: has a name that is not text",
		head + "a: !!str 7":                               "f:3: a: must be written without a tag",
		head + "a: !!binary aGk=":                         "f:3: a: must be written without a tag",
		head + "a: !x {b: 1}":                             "f:3: a: must be written without a tag",
		head + "a: [1,\n  010]":                           "f:4: a[1]: must be a plain decimal number",
		head + "a: 0x1f":                                  "f:3: a: must be a plain decimal number",
		head + "a: 1_000":                                 "f:3: a: must be a plain decimal number",
		head + "a: .inf":                                  "f:3: a: must be a plain decimal number",
		head + "a:\n\tb: 1":                               "f:4: is indented with a tab",
		head + "a: b\n  c: d":                             "f:4: mapping values are not allowed",
		head + "a: [1, 2\nb: 3":                           "f:4: did not find expected",
		head + "a: \"b":                                   "f:",
		head + "a: \"\\ud800\"":                           "f:3: found invalid Unicode character escape code",
		head + "a: b\x01":                                 "f:3: has the control character U+0001",
		head + "a: \xff":                                  "f:3: must be UTF-8",
		"\xff\xfek\x00":                                   "f:1: must be UTF-8",
		head + "a: " + strings.Repeat("[", 50) + strings.Repeat("]", 50):        "f:3: it is nested too deeply",
		head + "a: " + strings.Repeat("[", 1_000_000):                           "f:3: it is nested too deeply",
		head + "a: " + strings.Repeat("x", MaxSize):                             "f: it has more than",
		`{"kind":"k","name":"a"}` + "\n" + `{"kind":"k","name":"b"}`:            "f:2: did not find expected",
		`{"kind":"k",` + "\n" + `"name":"a"`:                                    "f:",
		"a: &a [x]\nb: &b [" + strings.Repeat("*a,", 9) + "]\nkind: k\nname: a": "f:1: a: must be written out",
	} {
		_, err := Read("f", strings.NewReader(text))
		var e *Error
		if !errors.As(err, &e) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%.80q: %v, want %s", text, err, want)
		}
	}
}

func TestFaultsAreOnTheLineOfTheirField(t *testing.T) {
	d := read(t, "# a file\n"+head+`format:
  prefix: x
  environments:
    - name: live
      tag: l
    - {name: test,
       tag: t}
replies:
- for: [A]
  headers:
    X-A: b
"a.b": 1
`)[0]
	for field, line := range map[string]int{"": 2, "name": 3, "format": 4, "format.prefix": 5, "format.length": 4, "format.environments": 6, "format.environments[0]": 7, "format.environments[0].tag": 8,
		"format.environments[1].tag": 10, "format.environments[1].nope": 9, "format.environments[2]": 6, "replies[0].for[0]": 12, "replies[0].headers.X-A": 14, "replies[0].headers.X-B": 13, "a.b": 15, "nope[3].x": 2, "formats": 2} {
		if e := d.Fault(field, "t"); e.Line != line {
			t.Errorf("%s is on line %d, not %d", field, e.Line, line)
		}
	}
	if got := d.Fault("format.length", "is required").Error(); got != "f:4: format.length: is required" {
		t.Error(got)
	}
}

// Any values that are written as YAML, or as JSON, are read as they were.
func TestWhatIsWrittenIsRead(t *testing.T) {
	printable := rapid.Rune().Filter(func(r rune) bool { return r < 0x7f || r > 0x9f && r != 0xfffe && r != 0xffff })
	text := rapid.OneOf(rapid.StringOf(printable), rapid.SampledFrom([]string{"yes", "no", "null", "~", "1", "0x1", "1e3", "true", "2026-01-01", "- a", "a: b", "#", "*x", "&x", "!x", "a\n", "\n", " a ", "\t", "<<", "", "é\u0301", "\u2028", "\u202e", "😀", "%", "|", ">", "---", "...", "\\", "\"", "'", "\ufeff"}))
	values := rapid.Deferred(func() *rapid.Generator[any] {
		leaf := rapid.OneOf(text.AsAny(), rapid.Int32().AsAny(), rapid.Bool().AsAny())
		return rapid.OneOf(leaf, rapid.SliceOfN(leaf, 0, 3).AsAny(), rapid.MapOfN(text, leaf, 0, 3).AsAny())
	})
	rapid.Check(t, func(t *rapid.T) {
		value := map[string]any{"kind": "k", "name": "n", "v": values.Draw(t, "value")}
		asJSON, _ := json.Marshal(value)
		want, _ := json.Marshal(map[string]any{"v": value["v"]})
		asYAML, err := yaml.Dump(value)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{string(asJSON), string(asYAML)} {
			all, err := Read("f", strings.NewReader(text))
			if err != nil {
				t.Fatalf("%q: %v", text, err)
			}
			if got, _ := json.Marshal(all[0].Fields); string(got) != string(want) {
				t.Errorf("%q is read as %s", text, got)
			}
		}
	})
}

func FuzzRead(f *testing.F) {
	for _, text := range []string{head, head + "a: [1, {b: c}]\n---\n" + head, `{"kind":"k","name":"a","v":["\ud83d\ude00"]}`, "a: &x [*x]", "- - -", "? ?", "\t", "%YAML 1.2\n---\n"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		all, err := Read("f", strings.NewReader(text))
		var e *Error
		if err != nil && !errors.As(err, &e) {
			t.Errorf("%q: %v", text, err)
		}
		for _, d := range all {
			if _, err := json.Marshal(d.Fields); err != nil {
				t.Errorf("%q: %v", text, err)
			}
			for name := range d.Fields {
				_ = d.Fault(name, "").Error()
			}
		}
	})
}

// A file costs no more than some hundred times its size, whatever is in it.
func TestAFileCostsWhatItsSizeSays(t *testing.T) {
	for name, text := range map[string]string{
		"many values":         head + "a: [" + strings.Repeat("0,", MaxSize/2-100) + "0]",
		"many names":          head + "a: {" + strings.Repeat("b: [", 20) + strings.Repeat("{},", MaxSize/4) + strings.Repeat("]", 20) + "}",
		"a long name":         head + strings.Repeat("a", 900) + ": [" + strings.Repeat("0,", MaxSize/3) + "0]",
		"nested, and no ends": head + strings.Repeat("a: [", MaxSize/5),
		"many documents":      strings.Repeat("---\n"+head, MaxSize/len("---\n"+head)),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		all, err := Read("f", strings.NewReader(text))
		runtime.ReadMemStats(&after)
		if cost := (after.TotalAlloc - before.TotalAlloc) / uint64(len(text)); cost > 800 {
			t.Errorf("%s: %d bytes are allocated for each of the file (%d documents, %v)", name, cost, len(all), fmt.Sprint(err)[:min(80, len(fmt.Sprint(err)))])
		}
	}
}
