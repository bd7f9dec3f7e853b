package api

import (
	"reflect"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keytrail/keytrail/domain"
)

// bounded puts the bounds that commands hold T's fields to into a schema that has some of
// these, and into those of the structs below it.
func bounded[T any](r huma.Registry, s *huma.Schema) *huma.Schema {
	boundFields(r, s, reflect.TypeFor[T]())
	return s
}

func boundFields(r huma.Registry, s *huma.Schema, t reflect.Type) {
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if field := s.Properties[name]; field != nil {
			boundField(r, field, f.Type, f.Tag.Get("validate"))
		}
	}
	s.PrecomputeMessages()
}

// duration is what time.ParseDuration reads, but for what is negative or too large, and for
// units in another order: it cannot say where in a body it fails.
const duration = `^(0|(\d{1,6}(\.\d{1,9})?h)?(\d{1,7}(\.\d{1,9})?m)?(\d{1,9}(\.\d{1,9})?s)?(\d{1,12}(\.\d{1,9})?ms)?(\d{1,15}(\.\d{1,9})?(us|µs))?(\d{1,18}(\.\d{1,9})?ns)?)$`

// boundField puts the rules of a field into its schema; those behind dive are of its entries.
func boundField(r huma.Registry, s *huma.Schema, t reflect.Type, rules string) {
	own, entries, _ := strings.Cut(rules, "dive")
	bound(s, own)
	switch {
	case t == reflect.TypeFor[domain.Duration]():
		one := 1
		s.MinLength, s.Pattern, s.PatternDescription = &one, duration, "a duration like 24h, 90s or 1h30m"
		s.PrecomputeMessages()
	case t.Kind() == reflect.Pointer:
		boundField(r, s, t.Elem(), "")
	case t.Kind() == reflect.Slice:
		boundField(r, s.Items, t.Elem(), strings.TrimPrefix(entries, ","))
	case t.Kind() == reflect.Map:
		_, values, _ := strings.Cut(entries, "endkeys")
		boundField(r, s.AdditionalProperties.(*huma.Schema), t.Elem(), values)
	case t.Kind() == reflect.Struct:
		if s.Ref != "" {
			boundFields(r, r.SchemaFromRef(s.Ref), t)
		}
	}
}

// bound puts the rules of the validator that a schema can say into one.
func bound(s *huma.Schema, rules string) {
	for _, rule := range strings.Split(rules, ",") {
		kind, value, _ := strings.Cut(rule, "=")
		n, _ := strconv.Atoi(value)
		number := float64(n)
		one := 1
		switch {
		case kind == "required" && s.Type == huma.TypeString:
			s.MinLength = &one
		case kind == "max" && s.Type == huma.TypeString:
			s.MaxLength = &n
		case kind == "max" && s.Type == huma.TypeArray:
			s.MaxItems = &n
		case kind == "max" && s.Type == huma.TypeObject:
			s.MaxProperties = &n
		case kind == "max" && s.Type == huma.TypeInteger:
			s.Maximum = &number
		case kind == "min" && s.Type == huma.TypeInteger:
			s.Minimum = &number
		case kind == "min" && s.Type == huma.TypeArray:
			s.MinItems = &n
		case kind == "reply_case":
			s.Enum = oneOf(domain.ReplyCases()).Enum
		case kind == "oneof" && s.Enum == nil:
			for _, word := range strings.Fields(value) {
				s.Enum = append(s.Enum, word)
			}
			if strings.Contains(rules, "omitempty") {
				s.Enum = append(s.Enum, "")
			}
		}
	}
	s.PrecomputeMessages()
}
