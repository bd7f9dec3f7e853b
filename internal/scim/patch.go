package scim

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/scim2/filter-parser/v2"
)

// The operations of a PATCH.
const (
	opAdd     = "add"
	opReplace = "replace"
	opRemove  = "remove"
)

// maxOperations and maxPath bound those of one PATCH, and what each costs to parse.
const (
	maxOperations = 1000
	maxPath       = 256 // bytes
)

// An Operation is one change of a PATCH.
type Operation struct {
	Op    string          `json:"op"`
	Path  string          `json:"path"`
	Value json.RawMessage `json:"value"`
}

// ParsePatch reads the body of a PATCH (RFC 7644, section 3.5.2).
func ParsePatch(body []byte) ([]Operation, error) {
	var request struct {
		Operations []Operation `json:"Operations"`
	}
	switch err := json.Unmarshal(body, &request); {
	case err != nil:
		return nil, bad(InvalidSyntax, "the body must be a PatchOp of SCIM 2.0")
	case len(request.Operations) == 0:
		return nil, bad(InvalidSyntax, "Operations must have at least one operation")
	case len(request.Operations) > maxOperations:
		return nil, bad(InvalidSyntax, "a PATCH may have at most %d operations; send it in parts", maxOperations)
	}
	for i := range request.Operations {
		o := &request.Operations[i]
		o.Op = strings.ToLower(o.Op) // Entra ID sends Add, Replace and Remove
		if !slices.Contains([]string{opAdd, opReplace, opRemove}, o.Op) {
			return nil, bad(InvalidSyntax, "op must be add, replace or remove")
		}
	}
	return request.Operations, nil
}

// A target is one attribute with what an operation says of it. Names are in lower case.
type target struct {
	op        string
	attribute string
	sub       string
	filter    filter.Expression // nil: all values
	value     []byte            // nil: it is taken away
}

// each calls set with every attribute of the schema that the operation is about: the one of its path,
// or without a path each member of its value. Those of other schemas are not kept.
func (o Operation) each(schema string, set func(target) error) error {
	value := []byte(o.Value)
	if string(value) == "null" {
		value = nil
	}
	if o.Path != "" {
		return o.one(schema, o.Path, value, set)
	}
	if o.Op == opRemove {
		return bad(NoTarget, "an operation that removes needs a path")
	}
	members, err := decode[map[string]json.RawMessage](value, "the value of an operation without a path", "an object")
	if err != nil {
		return err
	}
	for name, value := range members {
		if strings.EqualFold(name, schema) {
			err = Operation{Op: o.Op, Value: value}.each(schema, set)
		} else if _, inSchema := cutSchema(name, schema); inSchema {
			err = Operation{Op: o.Op, Value: value}.one(schema, name, value, set)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// cutSchema takes the schema from before an attribute's name; false: it is another schema's.
func cutSchema(name, schema string) (string, bool) {
	if len(name) > len(schema) && strings.EqualFold(name[:len(schema)], schema) && name[len(schema)] == ':' {
		return name[len(schema)+1:], true
	}
	return name, !strings.HasPrefix(strings.ToLower(name), "urn:")
}

func (o Operation) one(schema, path string, value []byte, set func(target) error) error {
	path, inSchema := cutSchema(path, schema)
	if !inSchema {
		return nil
	}
	if len(path) > maxPath || !bounded(path) {
		return bad(InvalidPath, "a path may have at most %d bytes and %d parentheses", maxPath, maxNesting)
	}
	p, err := filter.ParsePath([]byte(path))
	if err != nil {
		return bad(InvalidPath, "%q is no path of an attribute", clip(path))
	}
	if string(value) == "null" {
		value = nil
	}
	sub := p.SubAttributeName()
	if sub == "" {
		sub = p.AttributePath.SubAttributeName()
	}
	t := target{op: o.Op, attribute: strings.ToLower(p.AttributePath.AttributeName), sub: strings.ToLower(sub), filter: p.ValueExpression, value: value}
	if o.Op == opRemove && t.attribute != "members" { // of which the value can name some
		t.value = nil
	}
	return set(t)
}

// text is the value as text.
func (t target) text() (string, error) {
	if t.value == nil {
		return "", nil
	}
	name := t.attribute
	if t.sub != "" {
		name += "." + t.sub
	}
	return decode[string](t.value, name, "text")
}

// oneOrMany reads a list, or one value that stands for a list of it.
func oneOrMany[T any](data []byte) (all []T, err error) {
	if strings.HasPrefix(strings.TrimSpace(string(data)), "[") {
		return all, json.Unmarshal(data, &all)
	}
	var one T
	err = json.Unmarshal(data, &one)
	return []T{one}, err
}
