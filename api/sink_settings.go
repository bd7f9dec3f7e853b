package api

import (
	"bytes"
	"encoding/json"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keytrail/keytrail/domain"
)

// sinkSettings are the settings and credentials of a sink in a request, as they were written: a
// command reads them.
type sinkSettings struct{ raw json.RawMessage }

// sinkSettingsChanges are some of them; null takes one away.
type sinkSettingsChanges struct{ sinkSettings }

// UnmarshalJSON keeps the text.
func (s *sinkSettings) UnmarshalJSON(text []byte) error {
	s.raw = bytes.Clone(text)
	return nil
}

// Schema has the fields of both structs, with their bounds.
func (sinkSettings) Schema(r huma.Registry) *huma.Schema { return sinkSettingsSchema(r, false) }

// Schema has the fields of both structs, with their bounds.
func (sinkSettingsChanges) Schema(r huma.Registry) *huma.Schema { return sinkSettingsSchema(r, true) }

func sinkSettingsSchema(r huma.Registry, nullable bool) *huma.Schema {
	s := &huma.Schema{Type: huma.TypeObject, Properties: map[string]*huma.Schema{}, AdditionalProperties: false}
	for _, t := range []reflect.Type{reflect.TypeFor[domain.SinkSettings](), reflect.TypeFor[domain.SinkCredentials]()} {
		part := huma.SchemaFromType(r, t)
		delete(part.Properties, "signing") // no caller gives them
		delete(r.Map(), reflect.TypeFor[domain.SigningSecret]().Name())
		boundFields(r, part, t)
		for name, field := range part.Properties {
			field.WriteOnly = t == reflect.TypeFor[domain.SinkCredentials]()
			field.Nullable = nullable && field.Type != huma.TypeArray // generated clients cannot have a list that may be null
			if nullable && field.Enum != nil {
				field.Enum = append(field.Enum, nil)
			}
			s.Properties[name] = field
		}
	}
	s.PrecomputeMessages()
	return s
}

// boundedSink states the bounds of a definition, but for its settings, which have their own.
func boundedSink(r huma.Registry, s *huma.Schema) *huma.Schema {
	own := s.Properties["settings"]
	delete(s.Properties, "settings")
	s = bounded[domain.SinkDefinition](r, s)
	s.Properties["settings"] = own
	s.PrecomputeMessages()
	return s
}
