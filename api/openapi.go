package api

import (
	_ "embed"
	"encoding/json"
	"net/http"
	"strings"
)

// openAPI is the document as it is served. Answers may get more fields: there a schema
// that closes an object is left out, which requests are held to.
func (s *server) openAPI() ([]byte, error) {
	text, err := json.Marshal(s.huma.OpenAPI())
	if err != nil {
		return nil, err
	}
	var doc map[string]any
	if err := json.Unmarshal(text, &doc); err != nil {
		return nil, err
	}
	schemas := doc["components"].(map[string]any)["schemas"].(map[string]any)
	for _, item := range doc["paths"].(map[string]any) {
		for _, op := range item.(map[string]any) {
			if op, ok := op.(map[string]any); ok {
				openObjects(op["responses"], schemas, map[string]bool{})
			}
		}
	}
	return json.Marshal(doc)
}

// openObjects opens every object in part of a document, and in the schemas that it names.
func openObjects(part any, schemas map[string]any, done map[string]bool) {
	switch part := part.(type) {
	case []any:
		for _, p := range part {
			openObjects(p, schemas, done)
		}
	case map[string]any:
		if part["additionalProperties"] == false {
			delete(part, "additionalProperties")
		}
		if ref, _ := part["$ref"].(string); ref != "" && !done[ref] {
			done[ref] = true
			openObjects(schemas[ref[strings.LastIndex(ref, "/")+1:]], schemas, done)
		}
		for name, p := range part {
			if name != "example" {
				openObjects(p, schemas, done)
			}
		}
	}
}

func (s *server) serveOpenAPI() http.HandlerFunc {
	text, err := s.openAPI()
	if err != nil {
		panic(err) // what was registered is not JSON
	}
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/vnd.oai.openapi+json;version=3.1")
		_, _ = w.Write(text)
	}
}
