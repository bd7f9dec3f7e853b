// Package strictjson refuses JSON that two readers may take differently: an object with a
// name twice, of which encoding/json takes the last and others the first; a name in other
// letters than the field's, which encoding/json takes for the field; half of a surrogate
// pair, which becomes a replacement character; and what is nested without end.
//
// It judges what is JSON at all, and leaves the rest to the decoder.
package strictjson

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync"
)

// maxDepth bounds how deeply values may be nested. Requests have four levels.
const maxDepth = 32

// An Error says what is wrong with a member, by its path.
type Error struct{ Path, Text string }

func (e *Error) Error() string { return e.Path + " " + e.Text }

// Check judges text, whose names must be those of t's fields; nil: any names.
func Check(text []byte, t reflect.Type) error {
	if at := loneSurrogate(text); at >= 0 {
		return &Error{"", fmt.Sprintf(`has half of a surrogate pair at byte %d`, at)}
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if e := (&walk{d}).value(t, 0); e != nil {
		return e
	}
	return nil
}

// A walk reads JSON token by token. Where the text is not JSON it ends without an error: the
// decoder will report that.
type walk struct{ *json.Decoder }

func (w *walk) value(t reflect.Type, depth int) *Error {
	token, err := w.Token()
	if err != nil {
		return nil
	}
	if depth > maxDepth {
		return &Error{"", "is nested too deeply"}
	}
	switch token {
	case json.Delim('{'):
		return w.object(t, depth)
	case json.Delim('['):
		return w.array(t, depth)
	}
	return nil
}

func (w *walk) object(t reflect.Type, depth int) *Error {
	names, elem := members(t)
	seen := map[string]bool{}
	for w.More() {
		token, err := w.Token()
		name, ok := token.(string)
		if err != nil || !ok {
			return nil
		}
		if seen[name] {
			return &Error{name, "is there twice"}
		}
		seen[name] = true
		field, known := names[name]
		if names != nil && !known {
			return &Error{name, "is not a field of this request"}
		}
		if names == nil {
			field = elem
		}
		if e := w.value(field, depth+1); e != nil {
			return e.below(name)
		}
	}
	_, _ = w.Token()
	return nil
}

func (w *walk) array(t reflect.Type, depth int) *Error {
	var elem reflect.Type
	if t = pointed(t); t != nil && t.Kind() == reflect.Slice {
		elem = t.Elem()
	}
	for i := 0; w.More(); i++ {
		before := w.InputOffset()
		if e := w.value(elem, depth+1); e != nil {
			return e.below("[" + strconv.Itoa(i) + "]")
		}
		if w.InputOffset() == before {
			return nil // no JSON from here on
		}
	}
	_, _ = w.Token()
	return nil
}

// below is e with a step before its path. A path is put together behind an error alone: for
// each value, a long name would be copied as often as there are values below it.
func (e *Error) below(step string) *Error {
	if e.Path != "" && e.Path[0] != '[' {
		step += "."
	}
	return &Error{step + e.Path, e.Text}
}

var unmarshaler = reflect.TypeFor[json.Unmarshaler]()

// memberCache are the results of members by type: an import asks for one type a line.
var memberCache sync.Map // reflect.Type → memberTypes

type memberTypes struct {
	names map[string]reflect.Type
	elem  reflect.Type
}

// members are the names that an object for t may have, with their types, or nil and the
// type of every member.
func members(t reflect.Type) (names map[string]reflect.Type, elem reflect.Type) {
	if t == nil {
		return nil, nil
	}
	if known, ok := memberCache.Load(t); ok {
		m := known.(memberTypes)
		return m.names, m.elem
	}
	names, elem = reflected(t)
	memberCache.Store(t, memberTypes{names, elem})
	return names, elem
}

func reflected(t reflect.Type) (names map[string]reflect.Type, elem reflect.Type) {
	switch t = pointed(t); {
	case reflect.PointerTo(t).Implements(unmarshaler):
		return nil, nil
	case t.Kind() == reflect.Map:
		return nil, t.Elem()
	case t.Kind() != reflect.Struct:
		return nil, nil
	}
	names = map[string]reflect.Type{}
	for _, f := range reflect.VisibleFields(t) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" && name != "-" {
			names[name] = f.Type
		}
	}
	return names, nil
}

func pointed(t reflect.Type) reflect.Type {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}

// loneSurrogate is where text has an escape of half of a surrogate pair; -1: nowhere.
func loneSurrogate(text []byte) int {
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		switch high := escaped(text[i:]); {
		case 0xD800 <= high && high < 0xDC00:
			if low := escaped(text[i+6:]); low < 0xDC00 || low > 0xDFFF {
				return i
			}
			i += 11
		case 0xDC00 <= high && high <= 0xDFFF:
			return i
		default:
			i++ // what is escaped begins no escape
		}
	}
	return -1
}

// escaped is the code unit of the \u escape that b begins with, 0 if it is none.
func escaped(b []byte) uint64 {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0
	}
	unit, err := strconv.ParseUint(string(b[2:6]), 16, 32)
	if err != nil {
		return 0
	}
	return unit
}
