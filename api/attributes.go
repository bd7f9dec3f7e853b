package api

import (
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
)

// attributes are all of an owner or an organization.
type attributes map[string]string

// attributeChanges are some of them; null takes one away.
type attributeChanges map[string]*string

// Schema states their bounds.
func (attributes) Schema(r huma.Registry) *huma.Schema { return attributesSchema(r, false) }

// Schema states their bounds.
func (attributeChanges) Schema(r huma.Registry) *huma.Schema { return attributesSchema(r, true) }

func attributesSchema(r huma.Registry, nullable bool) *huma.Schema {
	s := &huma.Schema{Type: huma.TypeObject, AdditionalProperties: &huma.Schema{Type: huma.TypeString, Nullable: nullable}}
	f, _ := reflect.TypeFor[commands.AttributeChanges]().FieldByName("Attributes")
	boundField(r, s, f.Type, f.Tag.Get("validate"))
	return s
}

// replace are the changes after which these are all.
func (a attributes) replace() commands.AttributeChanges {
	c := commands.AttributeChanges{Attributes: map[string]*string{}, Replace: true}
	for name, value := range a {
		c.Attributes[name] = &value
	}
	return c
}

// showAttributes is an object also if there are none.
func showAttributes(a domain.Attributes) attributes {
	if a == nil {
		return attributes{}
	}
	return attributes(a)
}
