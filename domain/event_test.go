package domain_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	. "github.com/keytrail/keytrail/domain"
)

// TestEveryEventHasItsParts finds the types that are events in the source, and demands of
// each an entry in the registry and, of each change, a case where its aggregate applies it.
func TestEveryEventHasItsParts(t *testing.T) {
	registered, names := map[string]bool{}, map[string]bool{}
	for _, e := range EventTypes {
		if registered[reflect.TypeOf(e.Zero).Name()], names[e.Name] = true, true; TypeOf(e.Zero) != e.Name {
			t.Errorf("%s is there twice", e.Name)
		}
	}
	if len(names) != len(EventTypes) {
		t.Error("two entries of the registry have one name")
	}
	changes, uses, applied := eventsInSource(t)
	for name := range changes {
		if !registered[name] {
			t.Errorf("%s is not in the registry of events", name)
		}
		if !applied[name] {
			t.Errorf("no Apply has a case for %s", name)
		}
	}
	for name := range uses {
		if !registered[name] {
			t.Errorf("%s is not in the registry of events", name)
		}
	}
	if len(changes)+len(uses) != len(EventTypes) {
		t.Errorf("%d changes and %d uses in the source, %d in the registry", len(changes), len(uses), len(EventTypes))
	}
}

// headers are what makes the types events that embed them.
var headers = []string{"Header", "Occurrences", "Reading"}

// eventsInSource are the types that embed a header, those that are events by a method of their
// own, and those that an Apply method names.
func eventsInSource(t *testing.T) (changes, uses, applied map[string]bool) {
	changes, uses, applied = map[string]bool{}, map[string]bool{}, map[string]bool{}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.TypeSpec:
				if s, ok := n.Type.(*ast.StructType); ok && !slices.Contains(headers, n.Name.Name) && slices.ContainsFunc(headers, func(h string) bool { return embeds(s, h) }) {
					changes[n.Name.Name] = true
				}
			case *ast.FuncDecl:
				switch {
				case n.Recv != nil && n.Name.Name == "event":
					if of, ok := n.Recv.List[0].Type.(*ast.Ident); ok && of.Name != "Header" {
						uses[of.Name] = true
					}
				case n.Recv != nil && n.Name.Name == "Apply":
					ast.Inspect(n, func(n ast.Node) bool {
						if id, ok := n.(*ast.Ident); ok {
							applied[id.Name] = true
						}
						return true
					})
				}
			}
			return true
		})
	}
	return changes, uses, applied
}

func embeds(s *ast.StructType, name string) bool {
	for _, f := range s.Fields.List {
		if id, ok := f.Type.(*ast.Ident); ok && len(f.Names) == 0 && id.Name == name {
			return true
		}
	}
	return false
}

// TestDigestsAndSealedTextsArePrivate demands of each event that holds one, however deep, that its
// JSON leaves it out and that its private facts bring it back.
func TestDigestsAndSealedTextsArePrivate(t *testing.T) {
	digest := NewSecret("a secret").Digest()
	spelled, _ := digest.MarshalText()
	confidential := 0
	for _, entry := range EventTypes {
		e := entry.Zero
		v := reflect.New(reflect.TypeOf(e)).Elem()
		held := fillPrivate(v, digest)
		event := v.Interface().(Event)
		text, err := json.Marshal(event)
		if err != nil || strings.Contains(string(text), string(spelled)) || strings.Contains(string(text), "[digest]") || strings.Contains(string(text), `"c2VhbGVk`) {
			t.Errorf("%s is stored as %s, %v", TypeOf(e), text, err)
		}
		c, ok := event.(Confidential)
		if held != ok {
			t.Errorf("%s holds what is private: %t; is Confidential: %t", TypeOf(e), held, ok)
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
			t.Errorf("%s comes back as %+v", TypeOf(e), again)
		}
	}
	if confidential == 0 {
		t.Error("no event is confidential")
	}
}

// fillPrivate sets every digest, every hash of a password and every sealed text in v and tells whether there is one. Pointers and lists
// get an element, so that none hides behind a nil.
func fillPrivate(v reflect.Value, d Digest) (held bool) {
	if v.Type() == reflect.TypeFor[Digest]() {
		v.Set(reflect.ValueOf(d))
		return true
	}
	if v.Type() == reflect.TypeFor[PasswordHash]() {
		v.SetString("c2VhbGVk")
		return true
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).Name == "Sealed" {
				v.Field(i).SetBytes([]byte("sealed"))
				held = true
			} else if v.Type().Field(i).IsExported() {
				held = fillPrivate(v.Field(i), d) || held
			}
		}
	case reflect.Pointer:
		element := reflect.New(v.Type().Elem())
		if held = fillPrivate(element.Elem(), d); held {
			v.Set(element)
		}
	case reflect.Slice:
		element := reflect.New(v.Type().Elem()).Elem()
		if held = fillPrivate(element, d); held {
			v.Set(reflect.Append(v, element))
		}
	case reflect.Map:
		element := reflect.New(v.Type().Elem()).Elem()
		if held = fillPrivate(element, d); held {
			v.Set(reflect.MakeMap(v.Type()))
			v.SetMapIndex(reflect.Zero(v.Type().Key()), element)
		}
	}
	return held
}

// TestEveryKeyEventHasThePrefix: a reader of the trail knows a key by its prefix. Uses have
// a format of their own, and a key that was never created has none.
func TestEveryKeyEventHasThePrefix(t *testing.T) {
	for _, e := range EventTypes {
		if _, never := e.Zero.(KeyAbandoned); never || !strings.HasPrefix(e.Name, "key.") || e.Use {
			continue
		}
		if f, ok := reflect.TypeOf(e.Zero).FieldByName("Prefix"); !ok || f.Tag.Get("json") != "prefix" {
			t.Errorf("%s has no prefix", e.Name)
		}
	}
}
