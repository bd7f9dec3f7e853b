// Package documents reads files that hold several documents, as YAML or as JSON, and knows on
// which line each field is, so that a service's refusal of a field can name the line. Several
// documents follow one another with --- between them, or are a list.
//
// What it takes is JSON's model of data in either spelling. Of YAML it refuses what JSON has
// not (anchors and aliases, merge keys, tags, names that are not text) and what is read
// differently by different readers (a name twice, numbers that begin with 0 or have
// underscores), each by its line. Nothing is expanded, so that a file costs no more than its
// size, which is bounded.
package documents

import (
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// MaxSize is how many bytes a file has at most. In memory it takes some hundred times that at
// worst.
const MaxSize = 2 << 20

// maxDepth bounds how deeply values are nested, as the service does.
const maxDepth = 32

// A Document is one document of a file: an object whose kind and name say what it is of.
type Document struct {
	File       string
	Line       int // where it begins
	Kind, Name string
	Fields     map[string]any // the others, as encoding/json has them, numbers as json.Number
	root       *yaml.Node
}

// An Error is what is wrong with a file, where that is known.
type Error struct {
	File  string
	Line  int    // 0: not known
	Field string // its path, "": none
	Text  string
}

func (e *Error) Error() string {
	at := e.File
	if e.Line > 0 {
		at = fmt.Sprintf("%s:%d", at, e.Line)
	}
	if e.Field != "" {
		at += ": " + e.Field
	}
	return at + ": " + e.Text
}

// Fault is the fault of a field, on the line that has the field, or what it would be in.
func (d *Document) Fault(field, text string) *Error {
	return &Error{d.File, lineOf(d.root, field), field, text}
}

// Read reads all documents of a file. Empty ones are left out, and one there must be.
func Read(file string, r io.Reader) ([]Document, error) {
	text, err := readAll(r)
	if err != nil {
		return nil, &Error{File: file, Text: err.Error()}
	}
	if line, fault := unreadable(text); fault != "" {
		return nil, &Error{File: file, Line: line, Text: fault}
	}
	if json.Valid([]byte(text)) { // which is YAML, but for this
		text = surrogatePairs.ReplaceAllStringFunc(text, joinPair)
	}
	all, err := readYAML(text)
	if err == nil && len(all) == 0 {
		err = &Error{Text: "there is no document in it"}
	}
	if err != nil {
		e := err.(*Error)
		e.File = file
		return nil, e
	}
	for i := range all {
		all[i].File = file
		if err := all[i].nameItself(); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func readAll(r io.Reader) (string, error) {
	text, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	if err == nil && len(text) > MaxSize {
		err = fmt.Errorf("it has more than %d bytes; divide it", MaxSize)
	}
	return strings.TrimPrefix(string(text), "\ufeff"), err
}

// unreadable finds what no text has: bytes that are not UTF-8, and control characters.
func unreadable(text string) (line int, fault string) {
	line = 1
	for i, c := range text {
		switch {
		case c == utf8.RuneError && !strings.HasPrefix(text[i:], "\ufffd"):
			return line, "must be UTF-8"
		case c == '\n':
			line++
		case c < ' ' && c != '\t' && c != '\r' || c == 0x7f:
			return line, fmt.Sprintf("has the control character %U; write it with an escape in double quotes", c)
		}
	}
	return 0, ""
}

// nameItself takes kind and name out of the fields.
func (d *Document) nameItself() error {
	for _, member := range []struct {
		name string
		into *string
	}{{"kind", &d.Kind}, {"name", &d.Name}} {
		value, there := d.Fields[member.name]
		text, ok := value.(string)
		switch {
		case !there:
			return &Error{d.File, d.Line, member.name, "is required in every document"}
		case !ok || text == "":
			return d.Fault(member.name, "must be text")
		}
		*member.into = text
		delete(d.Fields, member.name)
	}
	return nil
}

// surrogatePairs are escapes in JSON; a pair is the longest.
var surrogatePairs = regexp.MustCompile(`\\(u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|.)`)

// joinPair writes two escapes that are one character as that character, which is the only
// spelling that YAML has in common with JSON.
func joinPair(escape string) string {
	var c string
	if len(escape) < len(`\ud83d\ude00`) || json.Unmarshal([]byte(`"`+escape+`"`), &c) != nil {
		return escape
	}
	return c
}
