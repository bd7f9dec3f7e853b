package api

import (
	"reflect"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// bounded puts the bounds that commands hold T's fields to into a schema that has some of these.
func bounded[T any](s *huma.Schema) *huma.Schema {
	for _, f := range reflect.VisibleFields(reflect.TypeFor[T]()) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		rules, _, _ := strings.Cut(f.Tag.Get("validate"), "dive") // what follows is about its entries
		for _, rule := range strings.Split(rules, ",") {
			if field := s.Properties[name]; field != nil {
				bound(field, rule)
			}
		}
	}
	return s
}

// bound puts one rule of the validator into a field's schema, if the schema can say it.
func bound(s *huma.Schema, rule string) {
	kind, value, _ := strings.Cut(rule, "=")
	n, _ := strconv.Atoi(value)
	switch {
	case kind == "required" && s.Type == huma.TypeString:
		one := 1
		s.MinLength = &one
	case kind == "max" && s.Type == huma.TypeString:
		s.MaxLength = &n
	case kind == "max" && s.Type == huma.TypeArray:
		s.MaxItems = &n
	case kind == "max" && s.Type == huma.TypeObject:
		s.MaxProperties = &n
	}
}
