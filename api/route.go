package api

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/internal/strictjson"
)

type contextKey int

const (
	principalKey contextKey = iota
	requestIDKey
	bodyKey
	callerKey
)

// bulkRevocation is the one route whose answer may take long.
const bulkRevocation = "revokeKeys"

// route adds a management route: f is a function of caller and request. Before f, the
// caller is authenticated, has the scope, and the use of their key is on the ledger. All
// of it is done, or refused, within the ledger's deadline from the request's arrival.
func route[In, Out any](s *server, id, pattern, scope string, status int, summary string, f func(context.Context, domain.Principal, *In) (*Out, error)) {
	method, path := cutPattern(pattern)
	op := huma.Operation{
		Method: method, Path: path, OperationID: id, Summary: summary, Description: describe("", scope), DefaultStatus: status, MaxBodyBytes: maxBody,
		Security: withKey, Errors: append(refusals(method, path, true, false), writeRefusals(method, path)...),
		// takeBody has read the body by then. Huma would set a read deadline of 5 s on the
		// connection, which ends a longer request and every later one on that connection.
		BodyReadTimeout: -1,
	}
	op.Middlewares = huma.Middlewares{func(ctx huma.Context, next func(huma.Context)) {
		r, w := humago.Unwrap(ctx)
		deadline := time.Now().Add(eventstore.Deadline)
		caller, err := s.authenticate(r, scope)
		if err == nil {
			noteCaller(w, caller.Principal)
			err = repeatedParameter(r)
		}
		var body []byte
		if err == nil && method != http.MethodGet {
			begun := time.Now()
			body, err = takeBody(w, r)
			deadline = deadline.Add(time.Since(begun)) // which is the caller's, and has a deadline of its own
		}
		if err == nil { // a slow body may have outlived the caller's key
			err = s.Verifier.Recheck(&caller)
		}
		if err != nil {
			s.problem(w, r, err)
			return
		}
		if id != bulkRevocation { // it does many things, each with a deadline
			bounded, cancel := context.WithDeadline(ctx.Context(), deadline)
			defer cancel()
			ctx = huma.WithContext(ctx, bounded)
		}
		next(huma.WithValue(huma.WithValue(ctx, principalKey, caller.Principal), bodyKey, body))
	}}
	huma.Register(s.huma, op, func(ctx context.Context, in *In) (*Out, error) {
		out, err := f(ctx, ctx.Value(principalKey).(domain.Principal), in)
		if err != nil {
			return nil, s.asProblem(ctx, err)
		}
		return out, nil
	})
}

// takeBody reads a body whole and puts it back: a request's fingerprint is of the text that
// was sent.
func takeBody(w http.ResponseWriter, r *http.Request) (body []byte, err error) {
	if flight := whileReading(w, func() { body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody)) }); flight != nil {
		return nil, flight
	}
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, domain.ErrBodyTooLarge
	case err != nil:
		return nil, domain.ErrBodyUnreadable
	}
	if err := ambiguous(body, nil); err != nil {
		return nil, err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return body, nil
}

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

func cutPattern(pattern string) (method, path string) {
	method, path, _ = strings.Cut(pattern, " ")
	return method, path
}

var pathParameter = regexp.MustCompile(`\{(\w+)\}`)

// parseQuery is a query that is well formed: one that is not would be read in part, and
// what was asked for in the rest would not be asked.
func parseQuery(r *http.Request) (url.Values, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, domain.InvalidField("query", "is malformed: percent signs and semicolons must be encoded")
	}
	return query, nil
}

func repeatedParameter(r *http.Request) error {
	for name, values := range r.URL.Query() {
		if len(values) > 1 {
			return errRepeated(name)
		}
	}
	return nil
}

func errRepeated(parameter string) error {
	return domain.InvalidField(clip(parameter), "may be given once")
}

// clip keeps a caller's own word short and printable before it is repeated.
func clip(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
	return s[:min(len(s), 64)]
}

// WriteHeaders are those of every request that changes something.
type WriteHeaders struct {
	IdempotencyKey string `header:"Idempotency-Key" maxLength:"255" doc:"Repeating a request with the same key changes nothing and answers the same, without a secret."`
	IfMatch        string `header:"If-Match" doc:"The ETag of the revision that the change is meant for."`
	method, path   string
}

// Resolve notes which route the request took, for its fingerprint.
func (h *WriteHeaders) Resolve(ctx huma.Context) []error {
	u := ctx.URL()
	h.method, h.path = ctx.Method(), u.Path
	return nil
}

// request is what commands need to know the request again. The same Idempotency-Key from
// another principal is another command.
func (h *WriteHeaders) request(ctx context.Context, p domain.Principal) (commands.Request, error) {
	r := commands.Request{By: p, Correlation: requestID(ctx)}
	var err error
	if r.IfMatch, err = parseETag(h.IfMatch); err != nil {
		return r, err
	}
	if h.IdempotencyKey == "" {
		return r, nil
	}
	if strings.ContainsFunc(h.IdempotencyKey, func(c rune) bool { return c < ' ' || c > '~' }) {
		return r, domain.InvalidField("Idempotency-Key", "must be printable ASCII of at most 255 characters")
	}
	r.CommandID = digest(p.ID, h.IdempotencyKey)
	sent, _ := ctx.Value(bodyKey).([]byte)
	var body bytes.Buffer
	if json.Compact(&body, sent) != nil {
		body.Write(sent)
	}
	r.Fingerprint = digest(h.method, h.path, etag(r.IfMatch), body.String())
	return r, nil
}

func digest(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:16])
}

func parseETag(s string) (eventstore.Position, error) {
	if s == "" || s == "*" {
		return 0, nil
	}
	text := strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(s, "W/"), `"`), `"`)
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n == 0 {
		return 0, domain.InvalidField("If-Match", `must be an ETag that this service gave, like "17"`)
	}
	return eventstore.Position(n), nil
}

func etag(p eventstore.Position) string { return `"` + strconv.FormatUint(uint64(p), 10) + `"` }

func requestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey).(string)
	return id
}
