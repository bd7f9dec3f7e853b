package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
)

// declared fails unless the document has the answer's status and headers for its route.
// What the router itself refuses has no operation.
func (s *service) declared(method, path string, a *http.Response) {
	s.t.Helper()
	op := s.operation(method, path)
	if op == nil || a.StatusCode == http.StatusMethodNotAllowed || strings.HasPrefix(path, "/v1/products/") { // a product's answers are its own
		return
	}
	response, ok := op["responses"].(map[string]any)[fmt.Sprint(a.StatusCode)].(map[string]any)
	if !ok {
		s.t.Errorf("%s %s: %d is not declared", method, path, a.StatusCode)
		return
	}
	headers, _ := response["headers"].(map[string]any)
	for name := range a.Header {
		if slices.Contains([]string{"Content-Type", "Content-Length", "Date", "Cache-Control", "Trailer", "Vary"}, name) {
			continue
		}
		if !slices.ContainsFunc(keys(headers), func(h string) bool { return http.CanonicalHeaderKey(h) == name }) {
			s.t.Errorf("%s %s: %d has a header %s that is not declared", method, path, a.StatusCode, name)
		}
	}
}

func keys(m map[string]any) (names []string) {
	for name := range m {
		names = append(names, name)
	}
	return names
}

// operation is what the document says of a route; nil: nothing.
func (s *service) operation(method, path string) map[string]any {
	path, _, _ = strings.Cut(path, "?")
	if exact, ok := s.document()["paths"].(map[string]any)[path].(map[string]any); ok && exact[strings.ToLower(method)] != nil {
		return exact[strings.ToLower(method)].(map[string]any)
	}
	parts := strings.Split(path, "/")
	for template, item := range s.document()["paths"].(map[string]any) {
		wanted := strings.Split(template, "/")
		if len(wanted) != len(parts) || strings.Contains(template, "{") && slices.Contains([]string{"revoke", "import", "export"}, parts[len(parts)-1]) && len(parts) == 4 {
			continue
		}
		if slices.EqualFunc(wanted, parts, func(w, p string) bool { return w == p || strings.HasPrefix(w, "{") && p != "" }) {
			op, _ := item.(map[string]any)[strings.ToLower(method)].(map[string]any)
			return op
		}
	}
	return nil
}

// document is the OpenAPI document, the same for every service of a test run.
func (s *service) document() map[string]any {
	documentOnce.Do(func() {
		a, err := http.Get(s.url + "/openapi.json")
		if err != nil {
			s.t.Fatal(err)
		}
		defer a.Body.Close()
		if err := json.NewDecoder(a.Body).Decode(&documentRead); err != nil {
			s.t.Fatal(err)
		}
	})
	return documentRead
}

var (
	documentOnce sync.Once
	documentRead map[string]any
)

// Every JSON body and answer has an example, which is one.
func TestTheDocumentsExamplesAreExamples(t *testing.T) {
	s := start(t)
	for path, item := range s.document()["paths"].(map[string]any) {
		for method, op := range item.(map[string]any) {
			op := op.(map[string]any)
			bodies := map[string]any{}
			if b, ok := op["requestBody"].(map[string]any); ok {
				bodies["request"] = b
			}
			for status, r := range op["responses"].(map[string]any) {
				if status < "300" {
					bodies[status] = r
				}
			}
			for which, body := range bodies {
				content, _ := body.(map[string]any)["content"].(map[string]any)
				media, ok := content["application/json"].(map[string]any)
				if !ok {
					continue
				}
				if media["example"] == nil {
					t.Errorf("%s %s: the %s has no example", method, path, which)
					continue
				}
				for _, problem := range s.conform(media["schema"], media["example"], op["operationId"].(string)) {
					t.Errorf("%s %s, example of the %s: %s", method, path, which, problem)
				}
			}
		}
	}
}

// conform holds a value to what a schema of the document says of members and types.
func (s *service) conform(schema, value any, at string) (problems []string) {
	shape := schema.(map[string]any)
	if ref, ok := shape["$ref"].(string); ok {
		all := s.document()["components"].(map[string]any)["schemas"].(map[string]any)
		shape = all[ref[strings.LastIndex(ref, "/")+1:]].(map[string]any)
	}
	if enum, ok := shape["enum"].([]any); ok && !slices.Contains(enum, value) {
		return []string{fmt.Sprintf("%s is %v, none of %v", at, value, enum)}
	}
	switch value := value.(type) {
	case map[string]any:
		properties, _ := shape["properties"].(map[string]any)
		required, _ := shape["required"].([]any)
		for _, name := range required {
			if _, ok := value[name.(string)]; !ok {
				problems = append(problems, fmt.Sprintf("%s lacks %s", at, name))
			}
		}
		for name, member := range value {
			if p, ok := properties[name]; ok {
				problems = append(problems, s.conform(p, member, at+"."+name)...)
			} else if len(properties) > 0 {
				problems = append(problems, at+" has "+name+", which the schema does not know")
			}
		}
	case []any:
		for i, member := range value {
			problems = append(problems, s.conform(shape["items"], member, fmt.Sprintf("%s[%d]", at, i))...)
		}
	default:
		types, _ := json.Marshal(shape["type"])
		kind := map[bool]string{true: "null"}[value == nil]
		switch value.(type) {
		case string:
			kind = "string"
		case bool:
			kind = "boolean"
		case float64:
			kind = "integer"
			if strings.Contains(string(types), "number") {
				kind = "number"
			}
		}
		if shape["type"] != nil && !strings.Contains(string(types), kind) {
			problems = append(problems, fmt.Sprintf("%s is %v, and should be %s", at, value, types))
		}
	}
	return problems
}

// What made generated clients fail must not come back.
func TestTheDocumentSuitsClients(t *testing.T) {
	s := start(t)
	doc := s.document()
	text, _ := json.Marshal(doc)
	if strings.Contains(string(text), `["array","null"]`) {
		t.Error("a list may be null")
	}
	var answers func(any)
	seen := map[string]bool{}
	answers = func(part any) {
		switch part := part.(type) {
		case map[string]any:
			if part["additionalProperties"] == false {
				t.Errorf("an answer is closed to new fields: %v", keys(part))
			}
			if ref, ok := part["$ref"].(string); ok && !seen[ref] {
				seen[ref] = true
				answers(doc["components"].(map[string]any)["schemas"].(map[string]any)[ref[strings.LastIndex(ref, "/")+1:]])
			}
			for _, p := range part {
				answers(p)
			}
		case []any:
			for _, p := range part {
				answers(p)
			}
		}
	}
	ids := map[string]bool{}
	for path, item := range doc["paths"].(map[string]any) {
		for method, op := range item.(map[string]any) {
			op := op.(map[string]any)
			id, _ := op["operationId"].(string)
			if ids[id] || strings.ContainsAny(id, "-/ ") || id == "" || op["tags"] == nil || op["description"] == nil || op["summary"] == "" {
				t.Errorf("%s %s: id %q, tags %v, description %v", method, path, id, op["tags"], op["description"])
			}
			ids[id] = true
			answers(op["responses"])
		}
	}
	for _, id := range []string{"createKey", "revokeKey", "verifyKey", "authorize", "listEvents", "livez"} {
		if !ids[id] {
			t.Errorf("there is no operation %s", id)
		}
	}
}
