package domain_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	. "github.com/keytrail/keytrail/domain"
)

// TestEventsAreAllEventTypes compares the list with the types that are events in the source.
func TestEventsAreAllEventTypes(t *testing.T) {
	listed := map[string]bool{}
	for _, e := range Events {
		listed[reflect.TypeOf(e).Name()] = true
	}
	files, _ := filepath.Glob("*.go")
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if m, ok := d.(*ast.FuncDecl); ok && m.Name.Name == "EventType" && !listed[m.Recv.List[0].Type.(*ast.Ident).Name] {
				t.Errorf("%s is not in Events", m.Recv.List[0].Type.(*ast.Ident).Name)
			}
		}
	}
}

// TestADigestIsPrivate demands of each event that holds a digest, however deep, that its
// JSON leaves it out and that its private facts bring it back.
func TestADigestIsPrivate(t *testing.T) {
	digest := NewSecret("a secret").Digest()
	spelled, _ := digest.MarshalText()
	confidential := 0
	for _, e := range Events {
		v := reflect.New(reflect.TypeOf(e)).Elem()
		held := fillDigests(v, digest)
		event := v.Interface().(Event)
		text, err := json.Marshal(event)
		if err != nil || strings.Contains(string(text), string(spelled)) || strings.Contains(string(text), "[digest]") {
			t.Errorf("%s is stored as %s, %v", e.EventType(), text, err)
		}
		c, ok := event.(Confidential)
		if held != ok {
			t.Errorf("%s holds a digest: %t; is Confidential: %t", e.EventType(), held, ok)
		}
		if !ok {
			continue
		}
		confidential++
		zero := reflect.New(reflect.TypeOf(e)).Interface()
		if err := json.Unmarshal(text, zero); err != nil {
			t.Fatal(err)
		}
		var private Private
		secret, err := json.Marshal(c.Private())
		if err != nil || json.Unmarshal(secret, &private) != nil {
			t.Fatal(err)
		}
		again := reflect.ValueOf(zero).Elem().Interface().(Confidential).WithPrivate(private)
		if !reflect.DeepEqual(again, event) {
			t.Errorf("%s comes back as %+v", e.EventType(), again)
		}
	}
	if confidential == 0 {
		t.Error("no event is confidential")
	}
}

// fillDigests sets every digest in v and tells whether there is one. Pointers and lists
// get an element, so that none hides behind a nil.
func fillDigests(v reflect.Value, d Digest) (held bool) {
	if v.Type() == reflect.TypeFor[Digest]() {
		v.Set(reflect.ValueOf(d))
		return true
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				held = fillDigests(v.Field(i), d) || held
			}
		}
	case reflect.Pointer:
		element := reflect.New(v.Type().Elem())
		if held = fillDigests(element.Elem(), d); held {
			v.Set(element)
		}
	case reflect.Slice:
		element := reflect.New(v.Type().Elem()).Elem()
		if held = fillDigests(element, d); held {
			v.Set(reflect.Append(v, element))
		}
	case reflect.Map:
		element := reflect.New(v.Type().Elem()).Elem()
		if held = fillDigests(element, d); held {
			v.Set(reflect.MakeMap(v.Type()))
			v.SetMapIndex(reflect.Zero(v.Type().Key()), element)
		}
	}
	return held
}

// TestEveryKeyEventHasThePrefix: a reader of the trail knows a key by its prefix. Uses have
// a format of their own.
func TestEveryKeyEventHasThePrefix(t *testing.T) {
	for _, e := range Events {
		if !strings.HasPrefix(e.EventType(), "key.") || e.EventType() == "key.used" {
			continue
		}
		if f, ok := reflect.TypeOf(e).FieldByName("Prefix"); !ok || f.Tag.Get("json") != "prefix" {
			t.Errorf("%s has no prefix", e.EventType())
		}
	}
}
