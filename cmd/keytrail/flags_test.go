package main

import (
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/keytrail/keytrail/domain"
)

// Each setting of a key has a flag.
func TestEverySettingHasAFlag(t *testing.T) {
	members := map[string]bool{}
	for _, m := range settingFlags(pflag.NewFlagSet("", pflag.ContinueOnError)).members {
		members[m.name] = true
	}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[domain.Settings]()) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); !members[name] {
			t.Errorf("settingFlags has none for %s", name)
		}
	}
}
