package api

import (
	"reflect"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keytrail/keytrail/domain"
)

// A description is what the OpenAPI document says of a hand-written route.
type description struct {
	summary, details string
	query            []parameter
	body             *huma.RequestBody
	answer           map[string]*huma.MediaType
	open             bool // needs no management key
}

type parameter struct{ name, details string }

// document puts a hand-written route into the OpenAPI document.
func (s *server) document(pattern string, d description) {
	method, path := cutPattern(pattern)
	op := &huma.Operation{Method: method, Path: path, OperationID: operationID(method, path), Summary: d.summary, Description: d.details,
		RequestBody: d.body, Responses: map[string]*huma.Response{"200": {Description: "OK", Content: d.answer}}}
	if !d.open {
		op.Security = []map[string][]string{{"bearer": {}}, {"apiKey": {}}}
	}
	for _, name := range pathParameter.FindAllStringSubmatch(path, -1) {
		op.Parameters = append(op.Parameters, &huma.Param{Name: name[1], In: "path", Required: true, Schema: &huma.Schema{Type: "string"}})
	}
	for _, q := range d.query {
		op.Parameters = append(op.Parameters, &huma.Param{Name: q.name, In: "query", Description: q.details, Schema: &huma.Schema{Type: "string"}})
	}
	problem := map[string]*huma.MediaType{"application/problem+json": s.media(Problem{})}
	for _, status := range []int{400, 401, 403, 404, 413, 429, 503} {
		op.Responses[strconv.Itoa(status)] = &huma.Response{Description: "Refused", Content: problem}
	}
	s.huma.OpenAPI().AddOperation(op)
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
		details: "Needs the scope keys:verify. The answer is 200 whatever becomes of the key; code tells. The use is on the ledger before the answer, unless the operator chose otherwise.",
		body:    &huma.RequestBody{Required: true, Content: s.jsonAnswer(verifyBody{})}, answer: s.jsonAnswer(verifyAnswer{})}
}

// verifyAnswer is what verify.Answer writes by hand.
type verifyAnswer struct {
	Valid      bool               `json:"valid"`
	Code       string             `json:"code" enum:"VALID,NOT_FOUND,REVOKED,EXPIRED,DISABLED,INSUFFICIENT_SCOPE,IP_NOT_ALLOWED,RATE_LIMITED" doc:"With NOT_FOUND only valid, code and position are there."`
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

func (s *server) documentAuthorize() description {
	return description{summary: "Forward authentication for gateways", open: true,
		details: "The presented key is the credential. 200 lets the request pass and says in X-Keytrail-… headers whose it is. Any method and any path below are taken.",
		query:   []parameter{{"scope", "A scope that the key must have; may be repeated."}}}
}

func (s *server) documentImport() description {
	return description{summary: "Import digests of keys issued elsewhere", details: "Needs the scope keys:write. One JSON object a line, at most 10,000 lines of 64 KiB, in all 16 MiB. Each line stands for itself; repeating the whole changes nothing.",
		body: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/x-ndjson": s.media(importLine{})}}, answer: s.jsonAnswer(importAnswer{})}
}

func (s *server) documentEvents() description {
	answer := s.jsonAnswer(eventPage{})
	answer["application/x-ndjson"] = &huma.MediaType{Schema: &huma.Schema{Type: "string", Description: "All events up to now, one a line."}}
	answer["text/event-stream"] = &huma.MediaType{Schema: &huma.Schema{Type: "string", Description: "Events as they come; Last-Event-ID goes on behind one."}}
	return description{summary: "Read, replay or follow the ledger's events", details: "Needs the scope audit:read. Accept chooses a page, a replay or a stream.", answer: answer,
		query: []parameter{{"org_id", "Of this organization."}, {"key_id", "Of this key."}, {"type", "Of these types, with commas: " + strings.Join(eventTypes, ", ") + "."},
			{"actor", "By this principal."}, {"from", "From this time on."}, {"to", "Before this time."}, {"cursor", "The next_cursor of the page before."},
			{"limit", "Events in a page, 1 to 1000; default 100."}, {"wait", "How long a page that would be empty waits for an event, up to 60s."},
			{"after", "Wait until the read model has this position, which was the Keytrail-Position of a write's answer."}}}
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
	Type            string       `json:"type"`
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
