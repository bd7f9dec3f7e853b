package api

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/projections"
	"github.com/keytrail/keytrail/verify"
)

// What is written by hand must have the shape that the document says it has, no more and
// no less.
func TestWhatIsWrittenByHandIsWhatTheDocumentSays(t *testing.T) {
	at := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	key := domain.Credential{Key: "key_x", Org: domain.Installation, Keyspace: "default", Scopes: []string{"a:b"}, ExpiresAt: at.UnixMilli()}
	found := verify.Answer{Outcome: domain.UseValid, Credential: projections.Credential{Credential: key, Owner: "o", Name: "n", Metadata: `{"a":"b"}`}, Position: 7,
		Limits: []verify.LimitState{{RateLimit: domain.RateLimit{Limit: 5, Window: domain.Duration(time.Minute)}, Remaining: 4, Reset: at.Unix()}}}
	event, err := eventstore.Record{Stream: eventstore.Uses, Position: 9, Index: 3, Org: "org_x", Subject: "key_x", Type: "key.used", Time: at, Command: eventstore.Command{Actor: "key_y", Correlation: "r"},
		Event: domain.KeyUsed{Key: "key_x", Code: domain.UseValid, At: at}}.CloudEvent()
	if err != nil {
		t.Fatal(err)
	}
	imported, err := json.Marshal(importAnswer{Imported: 1, Failed: 1, Results: []importResult{{Line: 1, Status: "imported", Key: "key_x"}, {Line: 2, Status: "failed", Code: "c", Detail: "d"}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		shape any
		text  string
	}{
		{verifyAnswer{}, string(found.AppendJSON(nil))},
		{verifyAnswer{}, string((&verify.Answer{Outcome: domain.UseNotFound, Position: 7}).AppendJSON(nil))},
		{eventPage{}, `{"items":[` + string(event) + `],"next_cursor":"x","at_end":true}`},
		{importAnswer{}, string(imported)},
	} {
		registry := huma.NewMapRegistry("#/", huma.DefaultSchemaNamer)
		schema := registry.Schema(reflect.TypeOf(c.shape), false, "")
		var value any
		if err := json.Unmarshal([]byte(c.text), &value); err != nil {
			t.Fatal(err)
		}
		var result huma.ValidateResult
		huma.Validate(registry, schema, huma.NewPathBuffer(nil, 0), huma.ModeReadFromServer, value, &result)
		for _, err := range result.Errors {
			t.Errorf("%s: %v", c.text, err)
		}
	}
}

// Each setting of a key can be given, changed and seen.
func TestEverySettingIsInTheAPI(t *testing.T) {
	some := domain.Settings{Name: "n", Owner: "o", Scopes: []string{"a:b"}, ExpiresAt: time.Now(), RateLimits: []domain.RateLimit{{Limit: 1, Window: domain.Duration(time.Hour)}},
		AllowedCIDRs: []string{"192.0.2.0/24"}, Metadata: map[string]string{"a": "b"}}
	store, err := projections.Open(t.TempDir(), projections.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	s := &server{Options: Options{Now: time.Now, Store: store}}
	shown := reflect.ValueOf(s.showKey(projections.KeyRow{Key: domain.Key{Settings: some, Secrets: []domain.KeySecret{{Prefix: "p"}}}}))
	for i := range reflect.ValueOf(some).NumField() {
		name := reflect.TypeFor[domain.Settings]().Field(i).Name
		if reflect.ValueOf(some).Field(i).IsZero() {
			t.Errorf("give %s a value in this test", name)
		}
		if f := shown.FieldByName(name); !f.IsValid() || f.IsZero() {
			t.Errorf("%s is not shown", name)
		}
	}
	for _, setting := range reflect.VisibleFields(reflect.TypeFor[domain.Settings]()) {
		for _, shape := range []reflect.Type{reflect.TypeFor[Key](), reflect.TypeFor[newKey](), reflect.TypeFor[keyChanges](), reflect.TypeFor[importLine]()} {
			f, found := shape.FieldByName(setting.Name)
			name, _, _ := strings.Cut(setting.Tag.Get("json"), ",")
			if got, _, _ := strings.Cut(f.Tag.Get("json"), ","); !found || got != name {
				t.Errorf("%s lacks %s as %q", shape.Name(), setting.Name, name)
			}
		}
	}
}
