package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/verify"
)

// misconfigured is the case of a gateway that does not ask as it must, which its client can do
// nothing about. No keyspace has a reply to it.
const misconfigured domain.ReplyCase = "MISCONFIGURED"

// refusalHeaders are those of a reply.
var refusalHeaders = map[string]string{
	"X-Keytrail-Outcome":      "The outcome; or MISSING, MALFORMED, UNAVAILABLE; or MISCONFIGURED, if the gateway does not ask as it must.",
	"X-Keytrail-Status":       "With refuse: the status for the client.",
	"X-Keytrail-Content-Type": "With refuse: the type of the body.",
	"X-Keytrail-Body":         "With refuse: the body, if that is one line of printable ASCII.",
	"WWW-Authenticate":        "How to authenticate, and what is wrong with the credential.",
}

// A reply is what a gateway is to answer its client.
type reply struct {
	of          domain.ReplyCase
	status      int
	contentType string
	body        []byte
	headers     map[string]string // of the keyspace, which go before the service's own
}

// caseOf is the case in which there is no outcome but err.
func caseOf(err error) domain.ReplyCase {
	var refusal *domain.Error
	switch {
	case errors.Is(err, domain.ErrMissingKey):
		return domain.ReplyMissing
	case errors.Is(err, domain.ErrMalformedKey):
		return domain.ReplyMalformed
	case errors.As(err, &refusal) && (refusal.Kind == domain.Invalid || refusal.Kind == domain.Forbidden || refusal.Kind == domain.NotFound):
		return misconfigured
	}
	return domain.ReplyUnavailable
}

// refusal is the outcome as an error.
func (a *authorization) refusal(now time.Time) error {
	return refusalOf(&a.answer, now)
}

// refusalOf is the outcome of an answer as an error, with when it may be another one.
func refusalOf(a *verify.Answer, now time.Time) error {
	switch a.Outcome {
	case domain.UseRateLimited:
		return a.RateLimited(now)
	case domain.UseQuotaExceeded:
		return a.Exceeded(now)
	}
	return gatewayRefusal(a.Outcome)
}

// gatewayRefusal is how an outcome is refused; what is not known here, as an invalid key.
func gatewayRefusal(o domain.Outcome) error {
	switch o {
	case domain.UseInsufficientScope, domain.UseIPNotAllowed, domain.UseWrongOrganization, domain.UseRequirementUnmet, domain.UseOrgSuspended, domain.UsePlanForbids:
		return domain.NotAllowed(o)
	case domain.UseRateLimited:
		return domain.ErrRateLimited
	case domain.UseQuotaExceeded:
		return domain.ErrQuotaExceeded
	case domain.UseNotFound, domain.UseRevoked, domain.UseExpired, domain.UseDisabled:
		return domain.ErrInvalidKey
	}
	return errOtherOutcome
}

var errOtherOutcome = domain.ErrInvalidKey.In("")

// refuse answers a request that may not pass: as the keyspace says, else with err.
func (m *middleware) refuse(w *responseRecorder, r *http.Request, a *authorization, of domain.ReplyCase, err error) {
	problem := m.asGatewayProblem(r, err)
	reply := a.reply(of, problem)
	h := w.Header()
	h.Set("X-Keytrail-Outcome", string(of))
	if problem.mayPass() {
		maps.Copy(h, problem.GetHeaders())
	}
	a.showRateLimits(h, m.Now())
	a.challenge(h, &reply)
	for name, value := range reply.headers {
		h.Set(name, value)
	}
	if reply.contentType != "" {
		h.Set("Content-Type", reply.contentType)
	}
	if a.as403 {
		reply.forNginx(h)
	}
	w.WriteHeader(reply.status)
	_, _ = w.Write(reply.body) // the gateway may be gone
}

// asGatewayProblem is asProblem, and 503 for a fault of the service, which keeps it from telling
// as all else does that passes.
func (s *server) asGatewayProblem(r *http.Request, err error) *Problem {
	p := *s.asProblem(r.Context(), err)
	if p.Status == http.StatusInternalServerError {
		p.Status, p.Title = http.StatusServiceUnavailable, http.StatusText(http.StatusServiceUnavailable)
	}
	return &p
}

// reply is the keyspace's answer in a case, or the service's own, which is problem.
func (a *authorization) reply(of domain.ReplyCase, problem *Problem) reply {
	text := a.keyspaceReply(of)
	if text == nil {
		body, _ := json.Marshal(problem) // texts and numbers alone
		return reply{of: of, status: problem.Status, contentType: problem.ContentType(""), body: append(body, '\n')}
	}
	body := text.Body(a.replyFields(of, text.Status, problem))
	kind := text.ContentType
	if kind == "" && len(body) > 0 {
		kind = "application/json"
	}
	return reply{of, text.Status, kind, body, text.Headers}
}

func (a *authorization) keyspaceReply(of domain.ReplyCase) *domain.CompiledReply {
	k := a.policy()
	switch {
	case k == nil:
		return nil
	case of == domain.ReplyCase(domain.UseRequirementUnmet) && a.answer.Unmet >= 0:
		return k.RequirementReply(a.answer.Unmet)
	}
	return k.Reply(of)
}

// policy is the keyspace as it decided, or as it was when it was asked for; nil: there is none.
func (a *authorization) policy() *domain.Keyspace {
	if a.answer.Keyspace != nil {
		return a.answer.Keyspace
	}
	return a.keyspace
}

func (a *authorization) replyFields(of domain.ReplyCase, status int, problem *Problem) domain.ReplyFields {
	f := domain.ReplyFields{Outcome: of, Status: status, Keyspace: a.Keyspace, Scopes: strings.Join(a.Scopes, " "), RequestID: a.RequestID}
	if k := a.answer.Keyspace; k != nil {
		f.KeyID, f.OrgID = a.answer.Credential.Key, a.answer.Credential.Org
		if a.answer.Unmet >= 0 {
			f.Attribute = k.Requirements[a.answer.Unmet].Attribute
		}
	}
	if problem.mayPass() {
		f.RetryAfter = problem.retryAfter()
	}
	return f
}

// forNginx makes the reply one that nginx passes on: of refusals it knows 401 and 403, and it
// drops their bodies, but its variables can have headers. 5xx stays, for which nginx answers 500.
func (r *reply) forNginx(h http.Header) {
	h.Set("X-Keytrail-Status", strconv.Itoa(r.status))
	h.Set("X-Keytrail-Content-Type", r.contentType)
	if body := oneLine(r.body, r.contentType); body != "" {
		h.Set("X-Keytrail-Body", body)
	}
	if r.status < 500 && r.status != http.StatusUnauthorized {
		r.status = http.StatusForbidden
	}
}

// maxBodyHeader bounds the body of a reply in a header.
const maxBodyHeader = 4 << 10

// oneLine is the body as one line of printable ASCII, without the line break at its end. JSON is
// spelled so if it is not; of what else is not one line there is none.
func oneLine(body []byte, contentType string) string {
	line := strings.TrimSuffix(string(body), "\n")
	if !printable(line) && strings.Contains(contentType, "json") {
		var compact bytes.Buffer
		if json.Compact(&compact, body) != nil {
			return ""
		}
		line = asciiJSON(compact.String())
	}
	if !printable(line) || len(line) > maxBodyHeader {
		return ""
	}
	return line
}
