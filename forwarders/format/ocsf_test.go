package format

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/keytrail/keytrail/domain"
)

// An ocsfSchema is a reduced copy of the published one, see testdata/ocsf/README.md.
type ocsfSchema struct {
	Classes map[string]ocsfClass
	Objects map[string]ocsfClass
	Types   map[string]struct{ Type, Regex string }
}

type ocsfClass struct {
	UID         int
	CategoryUID int `json:"category_uid"`
	Attributes  map[string]ocsfAttribute
	Constraints map[string][]string
}

type ocsfAttribute struct {
	Type, Object, Profile       string
	Array, Required, Deprecated bool
	Enum                        []int64
}

func readOCSF(t *testing.T) (s ocsfSchema) {
	t.Helper()
	text, err := os.ReadFile("testdata/ocsf/schema-1.8.0.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// check finds what is wrong with an event.
func (s *ocsfSchema) check(event []byte) (faults []string) {
	d := json.NewDecoder(bytes.NewReader(event))
	d.UseNumber()
	var e map[string]any
	if err := d.Decode(&e); err != nil {
		return []string{err.Error()}
	}
	for name, c := range s.Classes {
		if e["class_uid"] != json.Number(fmt.Sprint(c.UID)) {
			continue
		}
		if e["category_uid"] != json.Number(fmt.Sprint(c.CategoryUID)) {
			faults = append(faults, "category_uid is wrong")
		}
		activity, _ := e["activity_id"].(json.Number).Int64()
		if e["type_uid"] != json.Number(fmt.Sprint(int64(c.UID)*100+activity)) {
			faults = append(faults, "type_uid is wrong")
		}
		return append(faults, s.checkObject(name, c, e)...)
	}
	return append(faults, "class_uid is not known")
}

func (s *ocsfSchema) checkObject(path string, c ocsfClass, o map[string]any) (faults []string) {
	for name, a := range c.Attributes {
		if a.Required && a.Profile == "" && o[name] == nil {
			faults = append(faults, path+"."+name+" is missing")
		}
	}
	for kind, of := range c.Constraints {
		n := 0
		for _, name := range of {
			if o[name] != nil {
				n++
			}
		}
		if n == 0 || kind == "just_one" && n > 1 {
			faults = append(faults, fmt.Sprintf("%s breaks %s of %v", path, kind, of))
		}
	}
	for name, value := range o {
		a, ok := c.Attributes[name]
		if !ok || a.Profile != "" || a.Deprecated {
			faults = append(faults, path+"."+name+" is not in the schema, deprecated, or of a profile")
			continue
		}
		values := []any{value}
		if a.Array {
			values, _ = value.([]any)
		}
		for _, v := range values {
			faults = append(faults, s.checkValue(path+"."+name, a, v)...)
		}
	}
	return faults
}

func (s *ocsfSchema) checkValue(path string, a ocsfAttribute, v any) []string {
	if a.Type == "object_t" {
		o, ok := v.(map[string]any)
		c, known := s.Objects[a.Object]
		switch {
		case !ok:
			return []string{path + " is no object"}
		case a.Object == "object": // anything
			return nil
		case !known:
			return []string{path + ": " + a.Object + " is not in the reduced schema"}
		}
		return s.checkObject(path, c, o)
	}
	kind := a.Type
	for s.Types[kind].Type != "" {
		if r := s.Types[kind].Regex; r != "" && !regexp.MustCompile(r).MatchString(fmt.Sprint(v)) {
			return []string{path + " is no " + kind}
		}
		kind = s.Types[kind].Type
	}
	ok := true
	switch kind {
	case "string_t":
		_, ok = v.(string)
	case "boolean_t":
		_, ok = v.(bool)
	case "integer_t", "long_t":
		number, _ := v.(json.Number)
		n, err := number.Int64()
		ok = err == nil && (a.Enum == nil || slices.Contains(a.Enum, n))
	}
	if !ok {
		return []string{fmt.Sprintf("%s: %v is no %s, or not in its enum", path, v, kind)}
	}
	return nil
}

// TestOCSFFitsItsSchema: every type of event, uses of every outcome among them.
func TestOCSFFitsItsSchema(t *testing.T) {
	s := readOCSF(t)
	for name, r := range records(t) {
		event, err := ocsf("0123abcd-events-17", r)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, fault := range s.check(event) {
			t.Errorf("%s: %s in %s", name, fault, event)
		}
	}
}

// TestOCSFTypes are those that the queries of SIEMs go by.
func TestOCSFTypes(t *testing.T) {
	all := records(t)
	for name, want := range map[string]int{
		"key.created": 300401, "key.revealed": 300402, "key.updated": 300403, "key.rotated": 300403, "key.revoked": 300404,
		"key.enabled": 300408, "key.disabled": 300409, "key.expired": 300411, "organization.suspended": 300412, "organization.resumed": 300413,
		"key.leaked": 300499, "key.used VALID": 300201, "key.used REVOKED": 300201, "credentials.refused": 300201, "audit.read": 600302, "keys.read": 600302, "access.refused": 600399,
		"management keys:read": 600302, "management keys:write": 600399,
		"derivation of a token": 600399,
	} {
		event, err := ocsf("id", all[name])
		var e ocsfEvent
		_ = json.Unmarshal(event, &e) // the interface in entity.data cannot be read
		if err != nil || e.TypeUID != want {
			t.Errorf("%s is %d, want %d: %v", name, e.TypeUID, want, err)
		}
		if failed := name == "key.used REVOKED" || name == "credentials.refused" || name == "access.refused"; (e.StatusID == ocsfFailure) != failed {
			t.Errorf("%s has status %d", name, e.StatusID)
		}
	}
}

// TestOCSFOperations are what was asked of the service.
func TestOCSFOperations(t *testing.T) {
	all := records(t)
	for name, want := range map[string]string{"management keys:read": "keys:read", "derivation of a token": "POST /v1/tokens", "audit.read": "read audit trail: page", "keys.read": "GET /v1/keys", "access.refused": "GET /v1/keys"} {
		event, err := ocsf("id", all[name])
		var e ocsfEvent
		_ = json.Unmarshal(event, &e) // as above
		if err != nil || e.API == nil || e.API.Operation != want {
			t.Errorf("%s is %s, want %q: %v", name, event, want, err)
		}
	}
}

// TestOCSFOfASum has how many attempts it stands for, and when they were.
func TestOCSFOfASum(t *testing.T) {
	event, err := ocsf("id", records(t)["key.used sum"])
	var e ocsfEvent
	if err != nil || json.Unmarshal(event, &e) != nil {
		t.Fatal(err)
	}
	if e.Count != 40 || e.End-e.Start != 60_000 || e.Metadata.UID != "id" || e.Metadata.Sequence != 17 || e.Metadata.LogName != "uses" ||
		e.Metadata.TenantUID != string(e.User.Organization.UID) || e.User.Credentials[0].UID != e.User.UID {
		t.Errorf("it is %s", event)
	}
}

// benchmarkFormat measures a format with a use, of which there are most, and with a change.
func benchmarkFormat(b *testing.B, f domain.SinkFormat) {
	all := records(b)
	for _, name := range []string{"key.used VALID", "key.created"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Of(f)("0123abcd-uses-17-3", all[name]); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

func BenchmarkCloudEvents(b *testing.B) { benchmarkFormat(b, domain.FormatCloudEvents) }
func BenchmarkOCSF(b *testing.B)        { benchmarkFormat(b, domain.FormatOCSF) }
func BenchmarkECS(b *testing.B)         { benchmarkFormat(b, domain.FormatECS) }
func BenchmarkCEF(b *testing.B)         { benchmarkFormat(b, domain.FormatCEF) }
