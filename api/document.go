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

	"github.com/keytrail/keytrail/domain"
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
func (s *server) document(id, pattern, scope string, d description) {
	method, path := cutPattern(pattern)
	op := &huma.Operation{Method: method, Path: path, OperationID: id, Summary: d.summary, Description: describe(d.details, scope), Security: d.security,
		Parameters: d.parameters, RequestBody: d.body, Responses: map[string]*huma.Response{"200": {Description: "OK", Content: d.answer, Headers: textHeaders(d.headers)}}}
	if scope != "" {
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

func describe(details, scope string) string {
	if scope == "" {
		return cmp.Or(details, "Any management key may ask.")
	}
	return strings.TrimSpace("Needs the scope " + scope + ". " + details)
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

// media is the shape of v, by its Go type.
func (s *server) media(v any) *huma.MediaType {
	return &huma.MediaType{Schema: s.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeOf(v), true, "")}
}

func (s *server) jsonAnswer(v any) map[string]*huma.MediaType {
	return map[string]*huma.MediaType{"application/json": s.media(v)}
}

func (s *server) documentVerify() description {
	return description{summary: "Verify a presented key",
		details:    "The answer is 200 whatever becomes of the key; code tells. The use is on the ledger before the answer, unless the operator chose otherwise.",
		parameters: []*huma.Param{afterParam("Wait until the read model has this position.")},
		body:       &huma.RequestBody{Required: true, Content: s.jsonAnswer(verifyBody{})}, answer: s.jsonAnswer(verifyAnswer{})}
}

// verifyAnswer is what verify.Answer writes by hand.
type verifyAnswer struct {
	Valid      bool               `json:"valid"`
	Code       outcome            `json:"code" doc:"With NOT_FOUND only valid, code and position are there."`
	Key        string             `json:"key_id,omitempty"`
	Org        *string            `json:"org_id,omitempty" nullable:"true" doc:"null: a management key that serves the whole installation"`
	Keyspace   string             `json:"keyspace,omitempty"`
	Owner      string             `json:"owner,omitempty"`
	Name       string             `json:"name,omitempty"`
	Scopes     []string           `json:"scopes,omitempty"`
	ExpiresAt  *string            `json:"expires_at,omitempty" nullable:"true" format:"date-time"`
	Metadata   map[string]string  `json:"metadata,omitempty"`
	RateLimits []verifyAnswerRate `json:"rate_limits,omitempty"`
	Position   uint64             `json:"position" doc:"How far the read model was that decided."`
}

type verifyAnswerRate struct {
	Limit     int64  `json:"limit"`
	Window    string `json:"window" doc:"Like 1m."`
	Remaining int64  `json:"remaining"`
	Reset     int64  `json:"reset" doc:"When the window ends, in seconds since the Unix epoch."`
}

const outcomeHeader = "What became of the key, if it came to that."

func askFor403() *huma.Schema { return &huma.Schema{Type: "string", Enum: []any{"403"}} }

func (s *server) documentAuthorize() description {
	return description{summary: "Forward authentication for gateways", security: append(slices.Clone(withKey), map[string][]string{"basic": {}}),
		details: "The presented key is the credential. 200 lets the request pass and says in headers whose it is. Any method is taken, and any path below, with any query, which are the client's and not read.",
		parameters: []*huma.Param{queryParam("scope", "Scopes that the key must have, all of them.", listSchema(textSchema())), queryParam("refuse", "Answer 400 and 429 as 403.", askFor403()),
			afterParam("Wait up to a second until the read model has this position."), headerParam("X-Keytrail-After", "The same as after."),
			headerParam("X-Keytrail-Scope", "More of them, separated by spaces or commas."), {Name: "X-Keytrail-Refuse", In: "header", Description: "The same as refuse.", Schema: askFor403()}},
		headers:        map[string]string{"X-Keytrail-Key-Id": "The key.", "X-Keytrail-Org-Id": "Its organization.", "X-Keytrail-Owner": "Its owner, percent-encoded.", "X-Keytrail-Scopes": "Its scopes, separated by spaces.", "X-Keytrail-Outcome": outcomeHeader},
		refusalHeaders: map[string]string{"X-Keytrail-Outcome": outcomeHeader, "X-RateLimit-Reset": "When the rate limit is free again, in seconds since the Unix epoch."}}
}

func (s *server) documentImport() description {
	line := s.media(importLine{}).Schema
	lines := &huma.Schema{Type: "string", Description: "One ImportLine, as JSON, a line.",
		Extensions: map[string]any{"contentMediaType": "application/x-ndjson", "contentSchema": line}}
	return description{summary: "Import digests of keys issued elsewhere", details: "One JSON object a line, at most 10,000 lines of 64 KiB, in all 16 MiB. Each line stands for itself; repeating the whole changes nothing.",
		body:   &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/x-ndjson": {Schema: lines}}},
		answer: s.jsonAnswer(importAnswer{}), headers: map[string]string{"Keytrail-Position": "Give it as after to a reader of another node."}}
}

func (s *server) documentEvents() description {
	answer := s.jsonAnswer(eventPage{})
	answer["application/x-ndjson"] = &huma.MediaType{Schema: &huma.Schema{Type: "string", Description: "All events up to now, one a line."}}
	answer["text/event-stream"] = &huma.MediaType{Schema: &huma.Schema{Type: "string", Description: "Events as they come; Last-Event-ID goes on behind one."}}
	limit := intSchema(1, 1000)
	limit.Default = 100
	return description{summary: "Read, replay or follow the ledger's events", details: "Accept chooses a page, a replay or a stream.", answer: answer,
		parameters: []*huma.Param{queryParam("org_id", "Of this organization.", textSchema()), queryParam("key_id", "Of this key.", textSchema()),
			queryParam("type", "Of these types, one by one or with commas.", listSchema(eventType("").Schema(nil))),
			queryParam("actor", "By this principal.", textSchema()), queryParam("from", "From this time on.", timeSchema()), queryParam("to", "Before this time.", timeSchema()),
			queryParam("cursor", "The next_cursor of the page before.", textSchema()), queryParam("limit", "Events in a page.", limit),
			queryParam("wait", "How long a page that would be empty waits for an event, up to 60s.", textSchema()),
			afterParam("Wait until the read model has this position, which was the Keytrail-Position of a write's answer."),
			headerParam("Last-Event-ID", "Go on behind this event; it comes before cursor.")}}
}

// The documents of the health checks, which need no key. Each document is made anew for
// each server, which completes it.
func documentLive() description {
	return description{summary: "The process serves", details: "Answered however busy it is.", answer: jsonObject(), security: openToAll}
}

func documentReady() description {
	return description{summary: "The service can be used", details: "503, with the same body, while the ledger does not answer or the read model is behind.", answer: jsonObject(), security: openToAll}
}

func documentMetrics() description {
	return description{summary: "Metrics for Prometheus", details: "In its text format.", answer: map[string]*huma.MediaType{"text/plain": {Schema: textSchema()}}, security: openToAll}
}

func jsonObject() map[string]*huma.MediaType {
	return map[string]*huma.MediaType{"application/json": {Schema: &huma.Schema{Type: "object"}}}
}

// eventPage is what pageEvents writes.
type eventPage struct {
	Items      []eventShape `json:"items"`
	NextCursor string       `json:"next_cursor" doc:"Where the next page begins, also at the end."`
	AtEnd      bool         `json:"at_end" doc:"There was nothing more yet."`
}

// eventShape is a CloudEvent as eventstore.Record writes it.
type eventShape struct {
	SpecVersion     string       `json:"specversion"`
	ID              string       `json:"id" doc:"The same in NATS and over HTTP: the id of the message and, of a use, its index in it."`
	Source          string       `json:"source"`
	Type            eventType    `json:"type"`
	Subject         string       `json:"subject,omitempty" doc:"The key's or the organization's id."`
	Time            string       `json:"time" format:"date-time"`
	DataContentType string       `json:"datacontenttype"`
	Position        string       `json:"position" doc:"The place in its stream: 17, or 17.3 for a use."`
	Org             domain.OrgID `json:"orgid"`
	Actor           string       `json:"actor,omitempty"`
	Correlation     string       `json:"correlationid,omitempty"`
	Private         string       `json:"private,omitempty" doc:"Binds the event to facts of it that only the service reads."`
	Data            any          `json:"data" doc:"By type; docs/events.md has a JSON Schema of each."`
}
