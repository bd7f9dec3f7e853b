package api

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// A Problem is an error as RFC 9457 shows it. Code is stable and made for programs.
type Problem struct {
	Type   string       `json:"type"`
	Title  string       `json:"title"`
	Status int          `json:"status"`
	Code   string       `json:"code"`
	Detail string       `json:"detail"`
	Errors []FieldError `json:"errors,omitempty"`
	wait   time.Duration
	// position is what was waited for: a write that was given it stands.
	position eventstore.Position
}

// A FieldError names the field or parameter at fault.
type FieldError struct {
	Field  string `json:"field"`
	Detail string `json:"detail"`
}

func (p *Problem) Error() string             { return p.Detail }
func (p *Problem) GetStatus() int            { return p.Status }
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// mayPass reports whether the same request may succeed later.
func (p *Problem) mayPass() bool {
	return p.Status == http.StatusTooManyRequests || p.Status == clientGone || p.Status >= 500
}

// GetHeaders are the headers that go with the problem, for Huma and for us.
func (p *Problem) GetHeaders() http.Header {
	switch p.Status {
	case http.StatusUnauthorized:
		return http.Header{"Www-Authenticate": {`Bearer realm="keytrail"`}}
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		h := http.Header{"Retry-After": {strconv.FormatInt(p.retryAfter(), 10)}}
		if p.position != 0 {
			h["Keytrail-Position"] = []string{strconv.FormatUint(uint64(p.position), 10)}
		}
		return h
	}
	return nil
}

// retryAfter is in how many seconds it is of use to try again.
func (p *Problem) retryAfter() int64 { return max(1, int64(math.Ceil(p.wait.Seconds()))) }

// statuses is the one place where a refusal's kind becomes an HTTP status.
var statuses = [...]int{
	domain.Internal:        http.StatusInternalServerError,
	domain.Invalid:         http.StatusBadRequest,
	domain.Unauthenticated: http.StatusUnauthorized,
	domain.Forbidden:       http.StatusForbidden,
	domain.NotFound:        http.StatusNotFound,
	domain.Conflict:        http.StatusConflict,
	domain.Stale:           http.StatusPreconditionFailed,
	domain.Reused:          http.StatusUnprocessableEntity,
	domain.TooLarge:        http.StatusRequestEntityTooLarge,
	domain.Exhausted:       http.StatusTooManyRequests,
	domain.Unavailable:     http.StatusServiceUnavailable,
}

// clientGone is the status, in metrics, of a request whose client did not wait for the answer.
const clientGone = 499

// asProblem turns an error into what the outside may know of it. What is not a refusal is
// logged here, once, and is "internal" outside.
func (s *server) asProblem(ctx context.Context, err error) *Problem {
	var p *Problem
	var refusal *domain.Error
	switch {
	case errors.As(err, &p):
		return p
	case ctx.Err() == context.Canceled:
		return &Problem{Type: "about:blank", Title: "Client Closed Request", Status: clientGone, Code: "client_gone", Detail: "the client did not wait for the answer"}
	case errors.As(err, &refusal):
		if refusal.Kind == domain.Unavailable && err != error(refusal) { // there is a cause to log
			s.Logger.WarnContext(ctx, "request not served", "request_id", requestID(ctx), "err", err)
		}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		refusal = domain.ErrTimeout
	default:
		s.Logger.ErrorContext(ctx, "request failed", "request_id", requestID(ctx), "err", err)
		refusal = domain.ErrInternal
	}
	return problemOf(refusal)
}

// problemOf is a refusal as the outside sees it.
func problemOf(e *domain.Error) *Problem {
	p := newProblem(statuses[e.Kind], e.Code, e.Error())
	p.wait = e.Wait
	if e.Field != "" {
		p.Errors = []FieldError{{e.Field, e.Text}}
	}
	return p
}

func newProblem(status int, code, detail string) *Problem {
	return &Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Code: code, Detail: detail}
}

// problem answers r with err.
func (s *server) problem(w http.ResponseWriter, r *http.Request, err error) {
	p := s.asProblem(r.Context(), err)
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	maps.Copy(h, p.GetHeaders())
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the client may be gone
}

// maxFieldErrors is how many faults of one request a refusal names: the answer to a body of
// 1 MiB would otherwise be twenty times as long.
const maxFieldErrors = 20

// humaProblem is Huma's own refusals in our shape: its faults in a request are all 400,
// but for the sizes and types that HTTP has statuses for.
func humaProblem(status int, message string, errs ...error) huma.StatusError {
	p := newProblem(status, "invalid_request", message)
	switch status {
	case http.StatusUnprocessableEntity, http.StatusBadRequest:
		p = problemOf(domain.InvalidField("", message))
	case http.StatusRequestEntityTooLarge:
		p = problemOf(domain.ErrBodyTooLarge)
	case http.StatusUnsupportedMediaType:
		return newProblem(status, "unsupported_media_type", "send the body with Content-Type: application/json")
	case http.StatusNotAcceptable:
		p.Code = "not_acceptable"
	case http.StatusInternalServerError:
		return problemOf(domain.ErrInternal)
	}
	for _, err := range errs[:min(len(errs), maxFieldErrors)] {
		var detail *huma.ErrorDetail
		var refusal *domain.Error // of a Resolver of ours
		switch {
		case errors.As(err, &detail):
			p.Errors = append(p.Errors, fieldError(detail))
		case errors.As(err, &refusal):
			p.Errors = append(p.Errors, FieldError{refusal.Field, refusal.Text})
		}
	}
	if len(p.Errors) > 0 {
		p.Detail = p.Errors[0].Field + ": " + p.Errors[0].Detail
	}
	return p
}

// fieldError names the field itself where Huma names the object that lacks it.
func fieldError(d *huma.ErrorDetail) FieldError {
	if m := missing.FindStringSubmatch(d.Message); m != nil {
		return FieldError{fieldOf(d.Location + "." + m[1]), "is required"}
	}
	if m := unreadable.FindStringSubmatch(d.Message); m != nil {
		return FieldError{clip(memberPath(m[1])), "has the wrong type, or is out of its range"}
	}
	return FieldError{fieldOf(d.Location), clip200(inOurWords(d.Message))}
}

// ownWords are what the validator of commands says where Huma says the same.
var ownWords = []struct {
	huma *regexp.Regexp
	ours string
}{
	{regexp.MustCompile(`^unexpected property$`), "is not a field of this request"},
	{regexp.MustCompile(`^expected integer$`), "must be a whole number"},
	{regexp.MustCompile(`^expected string$`), "must be text"},
	{regexp.MustCompile(`^(expected|invalid) boolean$`), "must be true or false"},
	{regexp.MustCompile(`^expected array$`), "must be a list"},
	{regexp.MustCompile(`^expected object$`), "must be an object"},
	{regexp.MustCompile(`^expected number >= (\S+)$`), "must be at least $1"},
	{regexp.MustCompile(`^expected number <= (\S+)$`), "must be at most $1"},
	{regexp.MustCompile(`^expected length >= (\d+)$`), "must have at least $1 characters"},
	{regexp.MustCompile(`^expected length <= (\d+)$`), "must have at most $1 characters"},
	{regexp.MustCompile(`^expected array length >= (\d+)$`), "must have at least $1 entries"},
	{regexp.MustCompile(`^expected array length <= (\d+)$`), "must have at most $1 entries"},
	{regexp.MustCompile(`^expected object with at most (\d+) properties$`), "must have at most $1 entries"},
	{regexp.MustCompile(`^expected value to be one of "(.*?)(, )?"$`), "must be one of $1"}, // an empty one stands for what is left out
	{regexp.MustCompile(`^expected value to match exactly one schema but matched none$`), "has the wrong type, or is out of its range"},
	{regexp.MustCompile(`^expected string to be (.*)$`), "must be $1"},
}

func inOurWords(message string) string {
	for _, w := range ownWords {
		if w.huma.MatchString(message) {
			return w.huma.ReplaceAllString(message, w.ours)
		}
	}
	return message
}

// unreadable is what encoding/json says of a value that the schema lets pass, like 1e2 for a
// whole number.
var unreadable = regexp.MustCompile(`^json: cannot unmarshal .* into Go struct field \w+\.(\S+) of type `)

var missing = regexp.MustCompile(`^expected required property (\S+) to be present$`)

// fieldOf drops where a field was: body.name is name to a caller.
func fieldOf(location string) string {
	for _, where := range []string{"body.", "query.", "header.", "path."} {
		if f, ok := strings.CutPrefix(location, where); ok {
			return clip(f)
		}
	}
	return clip(location)
}

// clip200 keeps 200 bytes of a text, and no part of a character.
func clip200(s string) string { return strings.ToValidUTF8(s[:min(len(s), 200)], "") }

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
