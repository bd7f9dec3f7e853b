package domain

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"text/template"
	"text/template/parse"
)

// compileBody reads the template of a reply's body. Text, fields and choices by fields are
// all that it may have: it cannot loop or fail, and takes no longer than its text is long.
func compileBody(text string) (*template.Template, error) {
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
	return t, checkNodes(t.Root)
}

// replyFieldNames are the fields that a template may name.
var replyFieldNames = func() (names []string) {
	for _, f := range reflect.VisibleFields(reflect.TypeFor[ReplyFields]()) {
		names = append(names, f.Name)
	}
	return names
}()

func checkNodes(list *parse.ListNode) error {
	if list == nil { // there is no {{else}}
		return nil
	}
	for _, n := range list.Nodes {
		if err := checkNode(n); err != nil {
			return err
		}
	}
	return nil
}

func checkNode(n parse.Node) error {
	switch n := n.(type) {
	case *parse.TextNode:
		return nil
	case *parse.ActionNode:
		return checkPipe(n.Pipe)
	case *parse.IfNode:
		if err := checkPipe(n.Pipe); err != nil {
			return err
		}
		if err := checkNodes(n.List); err != nil {
			return err
		}
		return checkNodes(n.ElseList)
	}
	return unknownNode(n)
}

// checkPipe admits one field.
func checkPipe(p *parse.PipeNode) error {
	if len(p.Decl) == 0 && len(p.Cmds) == 1 && len(p.Cmds[0].Args) == 1 {
		if f, ok := p.Cmds[0].Args[0].(*parse.FieldNode); ok && len(f.Ident) == 1 {
			if _, known := reflect.TypeFor[ReplyFields]().FieldByName(f.Ident[0]); known {
				return nil
			}
		}
	}
	return unknownNode(p)
}

func unknownNode(n parse.Node) error {
	text := n.String()
	return fmt.Errorf("has %.40q; beside text there may be {{.Field}} and {{if .Field}} … {{else}} … {{end}} with one of the fields %s",
		text, strings.Join(replyFieldNames, ", "))
}
