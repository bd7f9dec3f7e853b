package api

import (
	"cmp"
	"encoding/json"
	"errors"
	"go/token"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/internal/strictjson"
)

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	encode(w, v)
}

func encode(w http.ResponseWriter, v any) { _ = json.NewEncoder(w).Encode(v) }

// ambiguous refuses text that encoding/json would mend in silence, or take in one of two
// ways. Its names must be those of t's fields; nil: Huma holds them to its schema.
func ambiguous(text []byte, t reflect.Type) error {
	if !utf8.Valid(text) {
		return domain.InvalidField("body", "must be valid UTF-8")
	}
	var e *strictjson.Error
	if errors.As(strictjson.Check(text, t), &e) {
		return domain.InvalidField(clip(cmp.Or(e.Path, "body")), e.Text)
	}
	return nil
}

// decodeStrict reads one JSON object that has no members but T's, each once. A refusal calls
// the text whole.
func decodeStrict[T any](text []byte, whole string) (v T, err error) {
	if err := ambiguous(text, reflect.TypeFor[T]()); err != nil {
		return v, err
	}
	if err := json.Unmarshal(text, &v); err != nil {
		return v, decodeError(err, whole)
	}
	return v, nil
}

// decodeError says what is wrong with JSON without repeating what it holds.
func decodeError(err error, whole string) error {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) && wrong.Field != "" {
		return domain.InvalidField(clip(memberPath(wrong.Field)), "has the wrong type; it must be "+kindName(wrong.Type))
	}
	var refusal *domain.Error
	if errors.As(err, &refusal) {
		return refusal
	}
	return domain.InvalidField(whole, "must be one JSON object as the API's document describes it")
}

// memberPath drops the embedded structs, which are no members, from a path of encoding/json.
func memberPath(path string) string {
	return strings.Join(slices.DeleteFunc(strings.Split(path, "."), token.IsExported), ".")
}

// kindName says what JSON a Go type is read from.
func kindName(t reflect.Type) string {
	if t == reflect.TypeFor[time.Time]() || t == reflect.TypeFor[domain.Duration]() {
		return "a string"
	}
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Slice:
		return "a list"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64:
		return "a whole number"
	}
	return "an object"
}
