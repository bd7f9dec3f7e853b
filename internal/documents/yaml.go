package documents

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v4"
)

// readYAML reads nodes, not values: they have their lines, and aliases are not expanded.
func readYAML(text string) (all []Document, err error) {
	loader, err := yaml.NewLoader(strings.NewReader(text), yaml.WithPlugin(limits{}))
	if err != nil {
		return nil, &Error{Text: err.Error()}
	}
	for {
		var n yaml.Node
		switch err := loader.Load(&n); {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return nil, syntaxError(err, text)
		}
		found, err := documentsOf(n.Content[0])
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
}

// documentsOf are those of one node: itself, or the entries of a list; none, if it is comments
// alone.
func documentsOf(n *yaml.Node) (all []Document, _ error) {
	objects := []*yaml.Node{n}
	if n.ShortTag() == "!!null" {
		return nil, nil
	}
	if n.Kind == yaml.SequenceNode {
		objects = n.Content
	}
	for _, n := range objects {
		v, err := value(n)
		if err != nil {
			return nil, err
		}
		fields, ok := v.(map[string]any)
		if !ok {
			return nil, &Error{Line: n.Line, Text: "a document must be an object with the fields kind and name"}
		}
		all = append(all, Document{Line: n.Line, Fields: fields, root: n})
	}
	return all, nil
}

// limits bound what the library reads before there are nodes to look at.
type limits struct{}

// CheckDepth counts the levels of both styles.
func (limits) CheckDepth(depth int, _ *yaml.DepthContext) error {
	if depth > maxDepth {
		return errors.New("it is nested too deeply")
	}
	return nil
}

// CheckAlias is not asked: nodes keep their aliases.
func (limits) CheckAlias(int, int) error { return nil }

// syntaxError is the library's error with its line.
func syntaxError(err error, text string) error {
	var e *yaml.LoadError
	if !errors.As(err, &e) {
		return &Error{Text: err.Error()}
	}
	fault := &Error{Line: e.Mark.Line, Text: e.Message}
	if lines := strings.Split(text, "\n"); 0 < fault.Line && fault.Line <= len(lines) && tabbed.MatchString(lines[fault.Line-1]) {
		fault.Text = "is indented with a tab; indent with spaces"
	}
	return fault
}

var tabbed = regexp.MustCompile(`^ *\t`)

// value is a node as encoding/json has it.
func value(n *yaml.Node) (any, *Error) {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		return nil, &Error{Line: n.Line, Text: "must be written out: anchors (&) and aliases (*) are not taken"}
	case n.Style&yaml.TaggedStyle != 0:
		return nil, &Error{Line: n.Line, Text: "must be written without a tag (!)"}
	case n.Kind == yaml.MappingNode:
		return mapping(n)
	case n.Kind == yaml.SequenceNode:
		return sequence(n)
	}
	return scalar(n)
}

func sequence(n *yaml.Node) (any, *Error) {
	list := make([]any, len(n.Content))
	for i, c := range n.Content {
		v, err := value(c)
		if err != nil {
			return nil, err.below(fmt.Sprintf("[%d]", i))
		}
		list[i] = v
	}
	return list, nil
}

func mapping(n *yaml.Node) (any, *Error) {
	object, first := map[string]any{}, map[string]int{}
	for i := 0; i < len(n.Content); i += 2 {
		key := n.Content[i]
		if err := checkKey(key); err != nil {
			return nil, err
		}
		if line := first[key.Value]; line != 0 {
			return nil, (&Error{Line: key.Line, Text: fmt.Sprintf("is there twice, first on line %d", line)}).below(key.Value)
		}
		first[key.Value] = key.Line
		v, err := value(n.Content[i+1])
		if err != nil {
			return nil, err.below(key.Value)
		}
		object[key.Value] = v
	}
	return object, nil
}

func checkKey(key *yaml.Node) *Error {
	switch tag := key.ShortTag(); {
	case tag == "!!merge":
		return &Error{Line: key.Line, Text: "must be written out: merge keys (<<) are not taken"}
	case key.Kind != yaml.ScalarNode || key.Anchor != "" || tag != "!!str":
		return &Error{Line: key.Line, Text: "has a name that is not text; put it in quotes if it is meant to be"}
	}
	return nil
}

// below is e with a step before its path, which is made of an error alone: for each value, a
// long name would be copied as often as there are values below it.
func (e *Error) below(step string) *Error {
	if e.Field != "" && e.Field[0] != '[' {
		step += "."
	}
	e.Field = step + e.Field
	return e
}

// lineOf is the line of a field, or of what it would be in.
func lineOf(n *yaml.Node, path string) int {
	line := n.Line
	for n != nil && path != "" {
		path = strings.TrimPrefix(path, ".")
		var at int
		if n, at, path = child(n, path); n != nil {
			line = at
		}
	}
	return line
}

// child is the node that a path begins with, its line, and the rest of the path; nil: there
// is none.
func child(n *yaml.Node, path string) (_ *yaml.Node, line int, rest string) {
	for i, c := range n.Content {
		step, at := c.Value, c
		switch {
		case n.Kind == yaml.SequenceNode:
			step = fmt.Sprintf("[%d]", i)
		case i%2 == 1:
			continue
		default:
			c = n.Content[i+1]
		}
		if rest, ok := strings.CutPrefix(path, step); ok && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			return c, at.Line, rest
		}
	}
	return nil, 0, ""
}

// decimal is a number as JSON has it.
var decimal = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$`)

// scalar is a text, a number, a truth value or null. What YAML takes for a time is text.
func scalar(n *yaml.Node) (any, *Error) {
	switch n.ShortTag() {
	case "!!null":
		return nil, nil
	case "!!bool":
		return strings.EqualFold(n.Value, "true"), nil
	case "!!int", "!!float":
		if !decimal.MatchString(n.Value) {
			return nil, &Error{Line: n.Line, Text: "must be a plain decimal number, or text in quotes"}
		}
		return json.Number(n.Value), nil
	}
	return n.Value, nil
}
