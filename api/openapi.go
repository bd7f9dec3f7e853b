package api

import (
	_ "embed"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// serveOpenAPI completes the document, when every route is in it, and serves it.
func (s *server) serveOpenAPI() http.HandlerFunc {
	s.completeDocument()
	text, err := s.openAPI()
	if err != nil {
		panic(err) // what was registered is not JSON
	}
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/vnd.oai.openapi+json;version=3.1")
		_, _ = w.Write(text)
	}
}

type tag struct{ path, name, details string }

// tags group the routes, by the beginning of their paths.
var tags = []tag{
	{"/v1/verify", "Verification", "Is a presented key good?"},
	{"/v1/authorize", "Verification", ""},
	{"/v1/introspect", "Verification", ""},
	{"/v1/leaks", "Keys", ""},
	{"/v1/tokens", "Verification", ""},
	{"/.well-known", "Verification", ""},
	{"/v1/keyspaces", "Keyspaces", "Families of keys: how their secrets look, where they are presented, their bounds, and what refusals answer."},
	{"/v1/keys", "Keys", "Issue, list, change and end keys."},
	{"/v1/passwords", "Passwords", "Set by the token of a reset."},
	{"/v1/sso", "Single sign-on", "Log-ins by an organization's OpenID provider, for browsers."},
	{"/v1/users", "People", "Users, and what they may do in organizations."},
	{"/v1/invitations", "People", ""},
	{"/v1/organizations/{org}/members", "People", ""},
	{"/v1/organizations/{org}/roles", "People", ""},
	{"/v1/organizations/{org}/invitations", "People", ""},
	{"/v1/organizations", "Organizations", "The tenants of keys."},
	{"/v1/owners", "Owners", "Whom keys were given to, and what is known of them."},
	{"/v1/sinks", "Sinks", "Where events are forwarded to: webhooks and SIEMs."},
	{"/v1/events", "Events", "The audit trail: every change of a key and every use of one."},
	{"/v1/", "Operation", "For those who run the service."},
	{"/", "Health", "For those who watch it. Needs no key."},
}

//go:embed examples.json
var examplesText []byte

// An example is what a route's body and answer look like.
type example struct{ Request, Answer any }

// completeDocument adds what routes do not say of themselves: tags, examples and the headers that
// all answers have.
func (s *server) completeDocument() {
	doc := s.huma.OpenAPI()
	doc.Info.Description = "API keys whose every change and every use is on a ledger. Errors are RFC 9457 problems; a method that a path does not take is 405, with Allow."
	doc.Servers = []*huma.Server{{URL: "/", Description: "The service that gave this document"}}
	for _, t := range tags {
		if t.details != "" {
			doc.Tags = append(doc.Tags, &huma.Tag{Name: t.name, Description: t.details})
		}
	}
	var examples map[string]example
	if err := json.Unmarshal(examplesText, &examples); err != nil {
		panic(err) // a file of our own
	}
	for path, item := range doc.Paths {
		for _, op := range operations(item) {
			i := slices.IndexFunc(tags, func(t tag) bool { return strings.HasPrefix(path, t.path) })
			op.Tags = []string{tags[i].name}
			exemplify(op, examples[op.OperationID])
			for status, response := range op.Responses {
				declareHeaders(status, response)
			}
		}
	}
}

func operations(item *huma.PathItem) []*huma.Operation {
	return slices.DeleteFunc([]*huma.Operation{item.Get, item.Post, item.Patch, item.Put, item.Delete}, func(op *huma.Operation) bool { return op == nil })
}

func exemplify(op *huma.Operation, e example) {
	if op.RequestBody != nil && e.Request != nil {
		for _, media := range op.RequestBody.Content {
			media.Example = e.Request
		}
	}
	for status, response := range op.Responses {
		if media := response.Content["application/json"]; media != nil && status < "300" && e.Answer != nil {
			media.Example = e.Answer
		}
	}
}

// declareHeaders adds those that every answer with a status has.
func declareHeaders(status string, response *huma.Response) {
	if response.Headers == nil {
		response.Headers = map[string]*huma.Param{}
	}
	add := func(name, details string, schema *huma.Schema) {
		response.Headers[name] = &huma.Param{Description: details, Schema: schema}
	}
	add("X-Request-Id", "The caller's own, or a new one. The ledger has it as correlationid.", textSchema())
	switch status {
	case "401":
		add("WWW-Authenticate", "Which scheme is taken.", textSchema())
	case "429", "503":
		add("Retry-After", "In how many seconds to try again.", intSchema(1, 1<<31))
	}
	if status == "503" {
		add("Keytrail-Position", "The position that the read model has not reached in time. A write there stands.", intSchema(0, 1<<62))
	}
}

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
	dropPatternDescriptions(doc)
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

// dropPatternDescriptions takes out what Huma alone understands: what it says of a text that does not
// have a pattern.
func dropPatternDescriptions(part any) {
	switch part := part.(type) {
	case []any:
		for _, p := range part {
			dropPatternDescriptions(p)
		}
	case map[string]any:
		delete(part, "patternDescription")
		for _, p := range part {
			dropPatternDescriptions(p)
		}
	}
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
