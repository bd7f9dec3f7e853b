package format

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

const (
	org = "org_cvsgmmhy41zc3xfcgxkxx6qvr8"
	key = "key_kay52g0bw1dy3y88veh5syg35w"
)

var noon = time.Date(2026, 11, 20, 12, 0, 0, 123e6, time.UTC)

// records are one of each type of event, and uses of each kind.
func records(t testing.TB) map[string]*eventstore.Record {
	t.Helper()
	all := map[string]*eventstore.Record{}
	for _, e := range domain.EventTypes {
		if !e.Use {
			all[e.Name] = sample(t, e)
		}
	}
	all["sink.test"] = &eventstore.Record{Org: org, Subject: "sink_a", ID: "01a1ff1a-b45c-7e4a-aa39-7bc1ff917ef1", Stored: noon, Time: noon, Type: "sink.test", Event: domain.SinkResumed{}}
	use := func(name string, e domain.Event) {
		all[name] = &eventstore.Record{Stream: eventstore.Uses, Position: 17, Index: 3, Org: org, Subject: key, ID: "zOLqt0mc62b8C470yY4NBE", Node: "n1", Decided: 5, Stored: noon,
			Time: e.Happened(), Type: domain.TypeOf(e), Event: e, Command: eventstore.Command{Actor: "key_asker", Correlation: "r-1"}}
	}
	for _, code := range domain.Outcomes {
		use("key.used "+string(code), domain.KeyUsed{Key: key, Code: code, Scopes: []string{"a:read"}, IP: "192.0.2.7", Principal: "key_asker", RequestID: "r-1", Resource: "GET /v1/things", At: noon})
	}
	use("key.used sum", domain.KeyUsed{Key: key, Code: domain.UseRevoked, At: noon, First: noon.Add(-time.Minute), Count: 40, Addresses: []string{"192.0.2.7", "2001:db8::7"}, Resources: []string{"a", "b"}})
	use("key.used bare", domain.KeyUsed{Key: key, Code: domain.UseValid, At: noon})
	use("key.used odd", domain.KeyUsed{Key: key, Code: domain.UseValid, At: noon, IP: "::1", Resource: "GET /a=b|c\\d\r\ne\"<é\x00\u2028"})
	for _, scope := range []string{"keys:read", "keys:write"} {
		use("management "+scope, domain.KeyUsed{Key: key, Code: domain.UseValid, Scopes: []string{scope}, Principal: key, At: noon})
	}
	use("derivation of a token", domain.KeyUsed{Key: key, Code: domain.UseValid, Scopes: []string{"orders:read"}, Resource: "POST /v1/tokens", Principal: key, At: noon})
	use("credentials.refused", domain.CredentialsRefused{Principal: "key_asker", Count: 9, From: noon, To: noon.Add(time.Minute)})
	return all
}

// sample is the stored sample of a change.
func sample(t testing.TB, e domain.EventType) *eventstore.Record {
	t.Helper()
	text, err := os.ReadFile("../../eventstore/testdata/events/" + e.Name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var stored struct {
		Body struct {
			ID, Subject, Actor string
			Org                domain.OrgID `json:"orgid"`
			Data               json.RawMessage
		}
	}
	if err := json.Unmarshal(text, &stored); err != nil {
		t.Fatal(err)
	}
	event, err := e.Decode(stored.Body.Data, domain.Private{})
	if err != nil {
		t.Fatal(err)
	}
	b := stored.Body
	return &eventstore.Record{Position: 17, Org: b.Org, Subject: b.Subject, ID: b.ID, Stored: noon, Time: event.Happened(), Type: e.Name, Event: event,
		Command: eventstore.Command{Actor: b.Actor, Correlation: "r-1"}}
}

// TestEveryTypeHasEveryFormat: an event type that a format does not know would stop its sinks.
func TestEveryTypeHasEveryFormat(t *testing.T) {
	for _, e := range domain.EventTypes {
		m, ok := meanings[e.Name]
		if !ok || m.text == "" || m.activity == 0 || cefSeverities[m.severity] == 0 || ecsTypes[m.activity] == "" {
			t.Errorf("%s: its entry of meanings lacks something", e.Name)
		}
		_, summed := e.Zero.(domain.Sum)
		if kind, _, _ := strings.Cut(e.Name, "."); !e.Use && !summed && entityTypes[kind] == "" {
			t.Errorf("%s: entityTypes has no %s", e.Name, kind)
		}
	}
	for name, r := range records(t) {
		for f, format := range formats {
			if b, err := format("id", r); err != nil || len(b) == 0 || strings.ContainsAny(string(b), "\r\n") {
				t.Errorf("%s as %s: %q, %v", name, f, b, err)
			}
		}
	}
	if _, err := ocsf("id", &eventstore.Record{Type: "new.type"}); err == nil {
		t.Error("a type that is not known is written")
	}
}

// TestCloudEventsAreValid: by the project's own library.
func TestCloudEventsAreValid(t *testing.T) {
	for name, r := range records(t) {
		b, err := Of(domain.FormatCloudEvents)("id", r)
		if err != nil {
			t.Fatal(err)
		}
		e := cloudevents.New()
		if err := json.Unmarshal(b, &e); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if err := e.Validate(); err != nil || e.Type() != r.Type || e.Subject() != r.Subject {
			t.Errorf("%s: %v in %s", name, err, b)
		}
	}
}

// The values that the Elastic Common Schema allows.
var (
	ecsCategories = map[string][]string{
		"iam":            {"admin", "change", "creation", "deletion", "group", "info", "user"},
		"authentication": {"start", "end", "info"},
		"api":            {"access", "admin", "allowed", "change", "creation", "deletion", "denied", "end", "info", "start", "user"},
	}
	ecsOutcomes = []string{"failure", "success", "unknown"}
)

// TestECS: each type of an event goes with one of its categories.
func TestECS(t *testing.T) {
	for name, r := range records(t) {
		b, err := ecs("id", r)
		if err != nil {
			t.Fatal(err)
		}
		var e ecsEvent
		_ = json.Unmarshal(b, &e) // the interface in keytrail.data, which comes last, cannot be read
		for _, kind := range e.Event.Type {
			if !slices.ContainsFunc(e.Event.Category, func(c string) bool { return slices.Contains(ecsCategories[c], kind) }) {
				t.Errorf("%s: %v has no type %s", name, e.Event.Category, kind)
			}
		}
		if len(e.Event.Category) == 0 || !slices.Contains(ecsOutcomes, e.Event.Outcome) || e.Event.ID != "id" || !strings.HasPrefix(string(b), `{"@timestamp":"2026-11-20T12:0`) {
			t.Errorf("%s: %s", name, b)
		}
	}
	b, err := ecs("id", records(t)["key.used REVOKED"])
	want := `"event":{"kind":"event","category":["authentication","api"],"type":["start","denied"],"action":"key.used","outcome":"failure","id":"id","sequence":17,` +
		`"provider":"keytrail","module":"keytrail","dataset":"keytrail.uses","severity":4,"code":"REVOKED","created":"2026-11-20T12:00:00.123Z"},"organization":{"id":"` + org + `"},` +
		`"user":{"id":"` + key + `"},"source":{"ip":"192.0.2.7"},"http":{"request":{"id":"r-1","method":"GET"}},"url":{"path":"/v1/things"}`
	if err != nil || !strings.Contains(string(b), want) {
		t.Errorf("%s, %v", b, err)
	}
}

// cefField finds the fields of an extension: a name, and a value up to the next name.
var cefField = regexp.MustCompile(`(\w+)=((?:[^=\\]|\\[\\=nr])*?)(?: (?:\w+)=|$)`)

// readCEF is a line of CEF, unescaped, as a reader that knows the format sees it.
func readCEF(t *testing.T, line string) (header []string, fields map[string]string) {
	t.Helper()
	for range 7 {
		end := regexp.MustCompile(`(?:^|[^\\])(?:\\\\)*\|`).FindStringIndex(line)
		if end == nil {
			t.Fatalf("%q has too few fields", line)
		}
		header = append(header, strings.NewReplacer(`\\`, `\`, `\|`, `|`).Replace(line[:end[1]-1]))
		line = line[end[1]:]
	}
	fields = map[string]string{}
	for line != "" {
		m := cefField.FindStringSubmatchIndex(line)
		if m == nil || m[0] != 0 {
			t.Fatalf("%q is no field", line)
		}
		fields[line[m[2]:m[3]]] = strings.NewReplacer(`\\`, `\`, `\=`, `=`, `\n`, "\n", `\r`, "\r").Replace(line[m[4]:m[5]])
		line = strings.TrimPrefix(line[m[5]:], " ")
	}
	return header, fields
}

// TestCEF: what a reader finds is what was written, whatever characters it has.
func TestCEF(t *testing.T) {
	all := records(t)
	for name, r := range all {
		b, err := cef("id", r)
		if err != nil {
			t.Fatal(err)
		}
		header, fields := readCEF(t, string(b))
		if header[0] != "CEF:0" || header[4] != r.Type || fields["externalId"] != "id" || fields["cs1"] != string(r.Org) || fields["cs1Label"] != "organization" {
			t.Errorf("%s: %q %v", name, header, fields)
		}
	}
	b, _ := cef("id", all["key.used odd"])
	if _, fields := readCEF(t, string(b)); fields["request"] != "/a=b|c\\d\r\ne\"<é\x00\u2028" || fields["c6a2"] != "::1" {
		t.Errorf("%q", fields)
	}
	b, _ = cef("id", all["key.used REVOKED"])
	if header, fields := readCEF(t, string(b)); header[6] != "8" || fields["outcome"] != "failure" || fields["reason"] != "REVOKED" || fields["src"] != "192.0.2.7" || fields["duid"] != key {
		t.Errorf("%q %q", header, fields)
	}
}

var writeFormats = flag.Bool("formats.write", false, "write testdata/written.txt")

// TestWhatIsWritten compares what each format makes of some records with testdata/written.txt: each
// field is there that a SIEM's query goes by.
func TestWhatIsWritten(t *testing.T) {
	all := records(t)
	var text strings.Builder
	for _, name := range []string{"key.created", "key.revoked", "key.leaked", "organization.suspended", "sink.paused", "audit.read", "credentials.refused", "key.used VALID", "key.used REVOKED", "key.used sum",
		"management keys:read", "management keys:write"} {
		for _, format := range []domain.SinkFormat{domain.FormatOCSF, domain.FormatECS, domain.FormatCEF} {
			r := *all[name]
			r.Stored = noon.Add(time.Second) // another time than it happened at
			b, err := Of(format)("id", &r)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&text, "%s as %s\n%s\n\n", name, format, b)
		}
	}
	const file = "testdata/written.txt"
	if *writeFormats {
		if err := os.WriteFile(file, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := text.String(); got != string(want) {
		for i, line := range strings.Split(got, "\n") {
			if lines := strings.Split(string(want), "\n"); i >= len(lines) || lines[i] != line {
				t.Fatalf("line %d is\n%s", i+1, line)
			}
		}
		t.Error("it is shorter")
	}
}

// TestTheHeaderOfCEFIsEscaped: no type or sentence of ours needs it, and one that does must not end
// its field.
func TestTheHeaderOfCEFIsEscaped(t *testing.T) {
	if got := cefHeader.Replace("a|b\\c\r\nd"); got != `a\|b\\c  d` {
		t.Errorf("%q", got)
	}
}
