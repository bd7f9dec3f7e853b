package domain

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"text/template"
	"text/template/parse"
)

// compileBody reads the template of a reply's body. Text, the fields of a struct and choices by fields are
// all that it may have: it cannot loop or fail, and takes no longer than its text is long.
func compileBody(text string, fields reflect.Type) (*template.Template, error) {
	t, err := template.New("body").Parse(text)
	if err != nil {
		return template.New("body"), fmt.Errorf("is not a template: line %.200s", strings.TrimPrefix(err.Error(), "template: body:"))
	}
	if len(t.Templates()) > 1 {
		return t, errors.New("may not define templates")
	}
	if t.Tree == nil { // no text at all
		return t, nil
	}
	return t, bodyFields{fields}.checkNodes(t.Root)
}

// bodyFields are the fields that a template may name: those of a struct.
type bodyFields struct{ of reflect.Type }

func (b bodyFields) String() string {
	var names []string
	for _, f := range reflect.VisibleFields(b.of) {
		names = append(names, f.Name)
	}
	return strings.Join(names, ", ")
}

func (b bodyFields) checkNodes(list *parse.ListNode) error {
	if list == nil { // there is no {{else}}
		return nil
	}
	for _, n := range list.Nodes {
		if err := b.checkNode(n); err != nil {
			return err
		}
	}
	return nil
}

func (b bodyFields) checkNode(n parse.Node) error {
	switch n := n.(type) {
	case *parse.TextNode:
		return nil
	case *parse.ActionNode:
		return b.checkPipe(n.Pipe)
	case *parse.IfNode:
		if err := b.checkPipe(n.Pipe); err != nil {
			return err
		}
		if err := b.checkNodes(n.List); err != nil {
			return err
		}
		return b.checkNodes(n.ElseList)
	}
	return b.unknownNode(n)
}

// checkPipe admits one field.
func (b bodyFields) checkPipe(p *parse.PipeNode) error {
	if len(p.Decl) == 0 && len(p.Cmds) == 1 && len(p.Cmds[0].Args) == 1 {
		if f, ok := p.Cmds[0].Args[0].(*parse.FieldNode); ok && len(f.Ident) == 1 {
			if _, known := b.of.FieldByName(f.Ident[0]); known {
				return nil
			}
		}
	}
	return b.unknownNode(p)
}

func (b bodyFields) unknownNode(n parse.Node) error {
	text := n.String()
	return fmt.Errorf("has %.40q; beside text there may be {{.Field}} and {{if .Field}} … {{else}} … {{end}} with one of the fields %s",
		text, b)
}
