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

// mayPass tells whether the same request may succeed later.
func (p *Problem) mayPass() bool {
	return p.Status == http.StatusTooManyRequests || p.Status == clientGone || p.Status >= 500
}

// GetHeaders are the headers that go with the problem, for Huma and for us.
func (p *Problem) GetHeaders() http.Header {
	switch p.Status {
	case http.StatusUnauthorized:
		return http.Header{"Www-Authenticate": {`Bearer realm="keytrail"`}}
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		h := http.Header{"Retry-After": {strconv.Itoa(max(1, int(math.Ceil(p.wait.Seconds()))))}}
		if p.position != 0 {
			h["Keytrail-Position"] = []string{strconv.FormatUint(uint64(p.position), 10)}
		}
		return h
	}
	return nil
}

func invalidField(field, text string) error {
	return &domain.Error{Kind: domain.Invalid, Code: "invalid_field", Field: field, Text: text}
}

// statusOf is the one place where a refusal's kind becomes an HTTP status.
func statusOf(k domain.Kind) int {
	switch k {
	case domain.Invalid:
		return http.StatusBadRequest
	case domain.Unauthenticated:
		return http.StatusUnauthorized
	case domain.Forbidden:
		return http.StatusForbidden
	case domain.NotFound:
		return http.StatusNotFound
	case domain.Conflict:
		return http.StatusConflict
	case domain.Stale:
		return http.StatusPreconditionFailed
	case domain.Mismatch:
		return http.StatusUnprocessableEntity
	case domain.Exhausted:
		return http.StatusTooManyRequests
	case domain.Unavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// clientGone is the status, in metrics, of a request whose client did not wait for the answer.
const clientGone = 499

var errTimeout = &domain.Error{Kind: domain.Unavailable, Code: "timeout", Text: "it took too long; try again"}

// asProblem turns an error into what the outside may know of it. Whatever nobody
// classified is logged here, once, and is "internal" outside.
func (s *server) asProblem(ctx context.Context, err error) *Problem {
	var p *Problem
	var refusal *domain.Error
	switch {
	case errors.As(err, &p):
		return p
	case ctx.Err() == context.Canceled:
		p = blank(clientGone, "client_gone", "the client did not wait for the answer")
		p.Title = "Client Closed Request"
		return p
	case errors.As(err, &refusal):
		if refusal.Kind == domain.Unavailable && err != error(refusal) { // there is a cause to tell
			s.Logger.WarnContext(ctx, "request not served", "request_id", requestID(ctx), "err", err)
		}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		refusal = errTimeout
	default:
		s.Logger.ErrorContext(ctx, "request failed", "request_id", requestID(ctx), "err", err)
		refusal = &domain.Error{Kind: domain.Internal, Code: "internal", Text: "something went wrong here; the log has it under the request id"}
	}
	p = blank(statusOf(refusal.Kind), refusal.Code, refusal.Text)
	p.wait = refusal.Wait
	if refusal.Field != "" {
		p.Errors = []FieldError{{refusal.Field, refusal.Text}}
		p.Detail = refusal.Field + ": " + refusal.Text
	}
	return p
}

func blank(status int, code, detail string) *Problem {
	return &Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Code: code, Detail: detail}
}

// problem answers r with err.
func (s *server) problem(w http.ResponseWriter, r *http.Request, err error) {
	p := s.asProblem(r.Context(), err)
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	maps.Copy(h, p.GetHeaders())
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // a caller who has gone needs no answer
}

// maxFieldErrors is how many faults of one request a refusal names: the answer to a body of
// 1 MiB would otherwise be twenty times as long.
const maxFieldErrors = 20

// newProblem is Huma's own refusals in our shape: its faults in a request are all 400,
// but for the sizes and types that HTTP has statuses for.
func newProblem(status int, message string, errs ...error) huma.StatusError {
	p := blank(status, "invalid_request", message)
	switch status {
	case http.StatusUnprocessableEntity, http.StatusBadRequest:
		p = blank(http.StatusBadRequest, "invalid_field", message)
	case http.StatusRequestEntityTooLarge:
		p.Code, p.Detail = "body_too_large", "a body may have at most 1 MiB"
	case http.StatusUnsupportedMediaType:
		return blank(status, "unsupported_media_type", "send the body with Content-Type: application/json")
	case http.StatusNotAcceptable:
		p.Code = "not_acceptable"
	case http.StatusInternalServerError:
		p = blank(status, "internal", "something went wrong here; the log has it under the request id")
		return p
	}
	for _, err := range errs[:min(len(errs), maxFieldErrors)] {
		var detail *huma.ErrorDetail
		if errors.As(err, &detail) {
			p.Errors = append(p.Errors, fieldError(detail))
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
	return FieldError{fieldOf(d.Location), clip200(d.Message)}
}

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

func clip200(s string) string { return s[:min(len(s), 200)] }
