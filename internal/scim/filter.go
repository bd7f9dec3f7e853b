package scim

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/scim2/filter-parser/v2"
)

// maxFilter and maxNesting bound the text of a filter, and of a path, in bytes and parentheses: the
// parser takes longer for each by the number of those before it.
const (
	maxFilter  = 1000
	maxNesting = 4
)

// bounded reports whether a text is one that the parser is quick with.
func bounded(text string) bool {
	return len(text) <= maxFilter && strings.Count(text, "(") <= maxNesting && strings.Count(text, "[") <= maxNesting
}

// A Filter is what an attribute must equal, by its name: those of a filter that are joined with "and".
type Filter map[string]string

// ParseFilter reads a filter (RFC 7644, section 3.4.2.2) that compares some of the attributes known
// with eq. No filter is an empty one.
func ParseFilter(text string, known ...string) (Filter, error) {
	if text == "" {
		return nil, nil
	}
	refusal := bad(InvalidFilter, `a filter must be of the form %s eq "…", several of which "and" can join`, strings.Join(known, ", "))
	if !bounded(text) {
		return nil, refusal
	}
	e, err := filter.ParseFilter([]byte(text))
	if err != nil {
		return nil, refusal
	}
	f := Filter{}
	if !f.take(e, known) {
		return nil, refusal
	}
	return f, nil
}

// take adds the conditions of e; false: it has others.
func (f Filter) take(e filter.Expression, known []string) bool {
	switch e := e.(type) {
	case *filter.LogicalExpression:
		return e.Operator == filter.AND && f.take(e.Left, known) && f.take(e.Right, known)
	case *filter.AttributeExpression:
		name := e.AttributePath.AttributeName
		if sub := e.AttributePath.SubAttributeName(); sub != "" {
			name += "." + sub
		}
		i := slices.IndexFunc(known, func(k string) bool { return strings.EqualFold(k, name) })
		value, text := e.CompareValue.(string)
		if i < 0 || !text || e.Operator != filter.EQ {
			return false
		}
		value = unescape(value)
		before, twice := f[known[i]]
		f[known[i]] = value
		return !twice || before == value
	}
	return false
}

// unescape is a text of a filter without JSON's escapes, which the parser leaves.
func unescape(s string) string {
	var text string
	if json.Unmarshal([]byte(`"`+s+`"`), &text) != nil {
		return s
	}
	return text
}

// Nothing reports whether f chooses no resource: it compares an attribute with an empty text.
func (f Filter) Nothing() bool {
	for _, value := range f {
		if value == "" {
			return true
		}
	}
	return false
}

// Select is a resource without the attributes that a request excludes or, if it names some, with
// these alone; ids and schemas stay. Both are names with commas between them.
func Select(resource any, attributes, excluded string) any {
	if attributes == "" && excluded == "" {
		return resource
	}
	return selection{resource, names(attributes), names(excluded)}
}

// A selection is some of a resource's attributes.
type selection struct {
	resource         any
	wanted, unwanted map[string]bool
}

// MarshalJSON writes what is selected.
func (s selection) MarshalJSON() ([]byte, error) {
	text, err := json.Marshal(s.resource)
	if err != nil {
		return nil, err
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		return nil, err
	}
	maps.DeleteFunc(members, func(name string, _ json.RawMessage) bool {
		name = strings.ToLower(name)
		return name != "id" && name != "schemas" && (s.wanted != nil && !s.wanted[name] || s.unwanted[name])
	})
	return json.Marshal(members)
}

// Wants reports whether a request wants an attribute, which may be long.
func Wants(name, attributes, excluded string) bool {
	wanted := names(attributes)
	name = strings.ToLower(name)
	return !names(excluded)[name] && (wanted == nil || wanted[name])
}

// names are the attributes of a list, without their schemas and sub-attributes, in lower case.
func names(list string) (all map[string]bool) {
	for name := range strings.SplitSeq(list, ",") {
		name = strings.ToLower(strings.TrimSpace(name))
		if i := strings.LastIndexByte(name, ':'); i >= 0 {
			name = name[i+1:]
		}
		name, _, _ = strings.Cut(name, ".")
		if name != "" {
			if all == nil {
				all = map[string]bool{}
			}
			all[name] = true
		}
	}
	return all
}
