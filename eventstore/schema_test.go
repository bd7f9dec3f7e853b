package eventstore

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/invopop/jsonschema"
	validator "github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/keytrail/keytrail/domain"
)

var writeSchemas = flag.Bool("schemas.write", false, "write the JSON Schemas of the events")

var schemaDir = filepath.Join("..", "docs", "events", "schemas")

// schemas are the JSON Schemas of each event type, as a CloudEvent in either channel, and of
// a message of uses, made of the Go types and their comments. Unless strict, they allow
// members that they do not name: an event may get more.
func schemas(t *testing.T, strict bool) map[string]*jsonschema.Schema {
	t.Helper()
	r := &jsonschema.Reflector{Anonymous: true, DoNotReference: true, AllowAdditionalProperties: !strict, Mapper: spelledAs}
	if err := r.AddGoComments("github.com/keytrail/keytrail/eventstore", "../domain"); err != nil {
		t.Fatal(err)
	}
	all := map[string]*jsonschema.Schema{}
	for _, entry := range domain.EventTypes {
		e := entry.Zero
		data := r.ReflectFromType(reflect.TypeOf(e))
		data.Version, data.Description = "", ""
		s := r.Reflect(cloudEvent{})
		s.Title = entry.Name
		s.Description = r.CommentMap["github.com/keytrail/keytrail/domain."+reflect.TypeOf(e).Name()]
		s.Properties.Set("specversion", &jsonschema.Schema{Const: "1.0"})
		s.Properties.Set("type", &jsonschema.Schema{Const: entry.Name})
		s.Properties.Set("data", data)
		if _, ok := e.(domain.Confidential); ok {
			s.Required = append(s.Required, "private")
		} else {
			s.Properties.Delete("private")
		}
		if !entry.Use {
			s.Properties.Delete("node")
			s.Properties.Delete("decided")
		}
		all[entry.Name] = s
	}
	all["uses"] = r.Reflect(useLine{})
	all["uses"].Title = "a line of a message of uses, after its head"
	return all
}

// spelledAs is the schema of a type that encoding/json does not write field by field.
func spelledAs(t reflect.Type) *jsonschema.Schema {
	switch t {
	case reflect.TypeFor[domain.KeyID]():
		return &jsonschema.Schema{Type: "string", Pattern: "^key_[0-9a-hjkmnp-tv-z]{26}$"}
	case reflect.TypeFor[domain.OrgID]():
		return &jsonschema.Schema{Type: "string", Pattern: "^org_[0-9a-hjkmnp-tv-z]{26}$"}
	case reflect.TypeFor[domain.SinkID]():
		return &jsonschema.Schema{Type: "string", Pattern: "^snk_[0-9a-hjkmnp-tv-z]{26}$"}
	case reflect.TypeFor[domain.Duration]():
		return &jsonschema.Schema{Type: "string", Description: "Like 24h, 90s or 1h30m."}
	case reflect.TypeFor[domain.Outcome]():
		return &jsonschema.Schema{Type: "string", Pattern: "^[A-Z_]+$", Description: "VALID, or why the key was refused. More may come."}
	case reflect.TypeFor[domain.Reason]():
		s := &jsonschema.Schema{Type: "string"}
		for _, reason := range domain.Reasons {
			s.Enum = append(s.Enum, reason)
		}
		return s
	case reflect.TypeFor[domain.Event]():
		return &jsonschema.Schema{}
	}
	return nil
}

// TestTheSchemasAreThoseOfTheEvents compares the files, which readers of the trail rely on,
// with what the types are. After a change: go test ./eventstore -run Schemas -args -schemas.write
func TestTheSchemasAreThoseOfTheEvents(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(schemaDir, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	known := schemas(t, false)
	for _, file := range files {
		if known[strings.TrimSuffix(filepath.Base(file), ".json")] == nil {
			t.Errorf("%s is of no event", file)
		}
	}
	for name, s := range known {
		want, err := json.MarshalIndent(s, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, '\n')
		file := filepath.Join(schemaDir, name+".json")
		if *writeSchemas {
			if err := os.WriteFile(file, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if have, err := os.ReadFile(file); err != nil || !bytes.Equal(have, want) {
			t.Errorf("%s is not what %s is now: %v", file, name, err)
		}
	}
}

// TestEventsFitTheirSchemas holds the stored samples, and what the API makes of them, to the
// schemas, members that those do not name included.
func TestEventsFitTheirSchemas(t *testing.T) {
	strict := schemas(t, true)
	for _, e := range samples() {
		s := readSample(t, e)
		records, err := s.records()
		if err != nil {
			t.Fatal(err)
		}
		records[0].Stored = time.Now()
		shown, err := records[0].CloudEvent()
		if err != nil {
			t.Fatal(err)
		}
		schema := compile(t, strict[domain.TypeOf(e)])
		matchSchema(t, schema, shown)
		body := []byte(s.Body)
		if s.stream() == Uses {
			schema = compile(t, strict["uses"])
			body = lineOf(t, s)
		}
		matchSchema(t, schema, body)
		if schema.Validate(map[string]any{}) == nil {
			t.Errorf("the schema of %s takes anything", domain.TypeOf(e))
		}
	}
}

// lineOf is the line of the use in a sample.
func lineOf(t *testing.T, s sample) []byte {
	t.Helper()
	var stored []byte
	if err := json.Unmarshal(s.Body, &stored); err != nil {
		t.Fatal(err)
	}
	body, err := decompress(nil, stored)
	if err != nil {
		t.Fatal(err)
	}
	_, line, _ := bytes.Cut(body, []byte("\n"))
	return line
}

func compile(t *testing.T, s *jsonschema.Schema) *validator.Schema {
	t.Helper()
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	document, err := validator.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := validator.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("schema.json", document); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func matchSchema(t *testing.T, schema *validator.Schema, text []byte) {
	t.Helper()
	value, err := validator.UnmarshalJSON(bytes.NewReader(text))
	if err == nil {
		err = schema.Validate(value)
	}
	if err != nil {
		t.Errorf("%s: %v", text, err)
	}
}
