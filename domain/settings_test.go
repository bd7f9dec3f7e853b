package domain_test

import (
	"reflect"
	"testing"
	"time"

	. "github.com/keytrail/keytrail/domain"
)

// someSettings have a value for every setting: a new one is given one here first.
var someSettings = Settings{Name: "n", Owner: "o", Scopes: []string{"a:b"}, ExpiresAt: noon, RateLimits: []RateLimit{{Limit: 1, Window: Duration(time.Hour)}},
	AllowedCIDRs: []string{"192.0.2.0/24"}, Metadata: map[string]string{"a": "b"}}

// TestEverySettingCanBeChanged demands of each setting a field of Changes with its name, and
// that Merge applies it, returns it, and does so once.
func TestEverySettingCanBeChanged(t *testing.T) {
	settings, changes := reflect.ValueOf(someSettings), reflect.New(reflect.TypeFor[Changes]()).Elem()
	if settings.NumField() != changes.NumField() {
		t.Errorf("there are %d settings and %d changes", settings.NumField(), changes.NumField())
	}
	for i := range settings.NumField() {
		f := settings.Type().Field(i)
		if settings.Field(i).IsZero() {
			t.Errorf("give %s a value in this test", f.Name)
		}
		change := changes.FieldByName(f.Name)
		if !change.IsValid() || change.Type() != reflect.PointerTo(f.Type) {
			t.Fatalf("Changes has no %s of the type *%s", f.Name, f.Type)
		}
		change.Set(reflect.New(f.Type))
		change.Elem().Set(settings.Field(i))
	}
	wanted := changes.Interface().(Changes)
	var merged Settings
	if news := merged.Merge(wanted); !reflect.DeepEqual(news, wanted) || !reflect.DeepEqual(merged, someSettings) {
		t.Errorf("merged are %+v, news are %+v", merged, news)
	}
	if again := merged.Merge(wanted); again != (Changes{}) {
		t.Errorf("merged again, news are %+v", again)
	}
}
