package api

import (
	"cmp"
	"net/http"
	"reflect"
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
	refusalsVary     bool                       // a refusal can have any status and body
	refusal          map[string]*huma.MediaType // nil: a problem
	security         []map[string][]string
	refusals         []int // statuses beside the usual ones
	status           int   // of the answer; 0: 200
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
	method, path := cutPattern(strings.ReplaceAll(pattern, "...}", "}")) // a path parameter with slashes
	op := &huma.Operation{Method: method, Path: path, OperationID: id, Summary: d.summary, Description: describe(d.details, need), Security: d.security,
		Parameters: d.parameters, RequestBody: d.body, Responses: map[string]*huma.Response{strconv.Itoa(cmp.Or(d.status, http.StatusOK)): {Description: http.StatusText(cmp.Or(d.status, http.StatusOK)), Content: d.answer, Headers: textHeaders(d.headers)}}}
	if need.scope != "" {
		op.Security = withKey
	}
	for _, name := range pathParameter.FindAllStringSubmatch(path, -1) {
		op.Parameters = append(op.Parameters, &huma.Param{Name: name[1], In: "path", Required: true, Schema: textSchema()})
	}
	problem := d.refusal
	if problem == nil {
		problem = map[string]*huma.MediaType{"application/problem+json": s.media(Problem{})}
	}
	for _, status := range append(refusals(method, path, len(op.Security) > 1, d.body != nil), d.refusals...) {
		op.Responses[strconv.Itoa(status)] = &huma.Response{Description: http.StatusText(status), Content: problem, Headers: textHeaders(d.refusalHeaders)}
	}
	if d.refusalsVary {
		problem["*/*"] = &huma.MediaType{}
		op.Responses["default"] = &huma.Response{Description: "Refused", Content: problem, Headers: textHeaders(d.refusalHeaders)}
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
	case need.open:
		return details
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
	if strings.Contains(path, "{") || strings.HasPrefix(path, "/v1/keys") || path == "/v1/sinks" || path == "/v1/events" || path == "/v1/usage" || path == "/v1/sessions/current/switch" {
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

// media is the shape of v, by its Go type.
func (s *server) media(v any) *huma.MediaType {
	return &huma.MediaType{Schema: s.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeOf(v), true, "")}
}

func (s *server) jsonAnswer(v any) map[string]*huma.MediaType {
	return map[string]*huma.MediaType{"application/json": s.media(v)}
}
