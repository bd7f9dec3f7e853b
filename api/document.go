package api

import (
	"cmp"
	_ "embed"
	"encoding/json"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// A description is what the OpenAPI document says of a hand-written route.
type description struct {
	summary, details string
	parameters       []*huma.Param
	body             *huma.RequestBody
	answer           map[string]*huma.MediaType
	headers          map[string]string // of the answer
	refusalHeaders   map[string]string
	security         []map[string][]string
}

// withKey says that a management key is needed, in either header.
var withKey = []map[string][]string{{"bearer": {}}, {"apiKey": {}}}

// openToAll says that no key is needed.
var openToAll = []map[string][]string{{}}

func queryParam(name, details string, schema *huma.Schema) *huma.Param {
	return &huma.Param{Name: name, In: "query", Description: details, Schema: schema}
}

// afterParam is a position to wait for.
func afterParam(details string) *huma.Param { return queryParam("after", details, intSchema(0, 1<<62)) }

func headerParam(name, details string) *huma.Param {
	return &huma.Param{Name: name, In: "header", Description: details, Schema: textSchema()}
}

func textSchema() *huma.Schema { return &huma.Schema{Type: "string"} }
func timeSchema() *huma.Schema { return &huma.Schema{Type: "string", Format: "date-time"} }

func intSchema(least, most float64) *huma.Schema {
	return &huma.Schema{Type: "integer", Format: "int64", Minimum: &least, Maximum: &most}
}

// listSchema is a parameter's schema whose values are given one by one: a=1&a=2.
func listSchema(of *huma.Schema) *huma.Schema { return &huma.Schema{Type: "array", Items: of} }

// document puts a hand-written route into the OpenAPI document.
func (s *server) document(id, pattern string, need permission, d description) {
	method, path := cutPattern(pattern)
	op := &huma.Operation{Method: method, Path: path, OperationID: id, Summary: d.summary, Description: describe(d.details, need), Security: d.security,
		Parameters: d.parameters, RequestBody: d.body, Responses: map[string]*huma.Response{"200": {Description: "OK", Content: d.answer, Headers: textHeaders(d.headers)}}}
	if need.scope != "" {
		op.Security = withKey
	}
	for _, name := range pathParameter.FindAllStringSubmatch(path, -1) {
		op.Parameters = append(op.Parameters, &huma.Param{Name: name[1], In: "path", Required: true, Schema: textSchema()})
	}
	problem := map[string]*huma.MediaType{"application/problem+json": s.media(Problem{})}
	for _, status := range refusals(method, path, len(op.Security) > 1, d.body != nil) {
		op.Responses[strconv.Itoa(status)] = &huma.Response{Description: http.StatusText(status), Content: problem, Headers: textHeaders(d.refusalHeaders)}
	}
	s.huma.OpenAPI().AddOperation(op)
}

func textHeaders(details map[string]string) map[string]*huma.Param {
	headers := map[string]*huma.Param{}
	for name, text := range details {
		headers[name] = &huma.Param{Description: text, Schema: textSchema()}
	}
	return headers
}

func describe(details string, need permission) string {
	switch {
	case need.scope == "":
		return cmp.Or(details, "Any management key may ask.")
	case need.installation:
		details = "For installation-wide keys. " + details
	}
	return strings.TrimSpace("Needs the scope " + need.scope + ". " + details)
}

// refusals are the statuses with which a route can refuse.
func refusals(method, path string, secured, body bool) []int {
	statuses := []int{400, 429, 503}
	if secured {
		statuses = append(statuses, 401, 403)
	}
	if strings.Contains(path, "{") || strings.HasPrefix(path, "/v1/keys") || path == "/v1/events" {
		statuses = append(statuses, 404) // also of an organization that is named and not reached
	}
	if body {
		statuses = append(statuses, 413)
	}
	return statuses
}

// writeRefusals are those of a management route that changes something.
func writeRefusals(method, path string) []int {
	if method == http.MethodGet || strings.HasPrefix(path, "/v1/projections") {
		return nil
	}
	return []int{409, 412, 413, 415, 422}
}

// tags group the routes, by the beginning of their paths.
var tags = []struct{ path, name, details string }{
	{"/v1/verify", "Verification", "Is a presented key good?"},
	{"/v1/authorize", "Verification", ""},
	{"/v1/keys", "Keys", "Issue, list, change and end keys."},
	{"/v1/organizations", "Organizations", "The tenants of keys."},
	{"/v1/events", "Events", "The audit trail: every change of a key and every use of one."},
	{"/v1/", "Operation", "For those who run the service."},
	{"/", "Health", "For those who watch it. Needs no key."},
}

//go:embed examples.json
var examplesText []byte

// An example is what a route's body and answer look like.
type example struct{ Request, Answer any }

// finish completes the document when every route is in it.
func (s *server) finish() {
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
			i := slices.IndexFunc(tags, func(t struct{ path, name, details string }) bool { return strings.HasPrefix(path, t.path) })
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

// media is the shape of v, by its Go type.
func (s *server) media(v any) *huma.MediaType {
	return &huma.MediaType{Schema: s.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeOf(v), true, "")}
}

func (s *server) jsonAnswer(v any) map[string]*huma.MediaType {
	return map[string]*huma.MediaType{"application/json": s.media(v)}
}
