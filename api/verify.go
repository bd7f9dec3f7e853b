package api

import (
	"net/http"
	"net/netip"
	"sync"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keytrail/keytrail/verify"
)

// maxVerifyBody bounds the body of a verification, in bytes.
const maxVerifyBody = 16 << 10

// A verification is what one request needs; it is used again.
type verification struct {
	body    []byte
	out     []byte
	request verify.Request
	answer  verify.Answer
}

var verifications = sync.Pool{New: func() any {
	return &verification{body: make([]byte, 0, 1024), out: make([]byte, 0, 1024)}
}}

var jsonType = []string{"application/json"}

// verify answers POST /v1/verify. It is on the path of every request that a customer's
// service takes, so it borrows its buffers and reads the usual body by hand.
func (m *middleware) verify(w *responseRecorder, r *http.Request, ip netip.Addr) {
	v := verifications.Get().(*verification)
	defer verifications.Put(v)
	if err := m.decide(v, w, r, ip); err != nil {
		m.problem(w, r.WithContext(withRequestID(r, w.id)), err)
		return
	}
	v.out = append(v.answer.AppendJSON(v.out[:0]), '\n')
	w.Header()["Content-Type"] = jsonType
	_, _ = w.Write(v.out) // the client may be gone
}

// decide reads the body before it takes an in-flight slot: a slow client holds none.
func (m *middleware) decide(v *verification, w *responseRecorder, r *http.Request, ip netip.Addr) error {
	secret, err := presented(r.Header)
	if err != nil {
		return err
	}
	if err := m.admitAddress(w, ip); err != nil {
		return err
	}
	if v.body, err = appendBody(v.body[:0], r.Body); err != nil {
		return err
	}
	if err := w.acquireInFlight(); err != nil {
		return err
	}
	caller, err := m.Verifier.AuthenticateVerifier(r.Context(), verify.AuthRequest{Secret: secret, Scope: verifyScope, IP: ip, RequestID: w.id})
	if err != nil {
		m.Commands.RecordRefusal(caller.Principal, verifyRoute, verifyScope, err)
		return err
	}
	if r.URL.RawQuery != "" {
		if err := m.verifyAfter(r); err != nil {
			return err
		}
	}
	v.request = verify.Request{Scopes: v.request.Scopes[:0]}
	if err := m.parseVerify(v.body, &v.request); err != nil {
		return err
	}
	v.request.By, v.request.RequestID = caller.Principal, w.id
	w.access.principal = caller.ID
	if err := m.Verifier.Verify(r.Context(), &v.request, &v.answer); err != nil {
		return err
	}
	w.access.verified(&v.answer)
	return m.Verifier.Recheck(&caller)
}

// verifyAfter waits for the position that the query names.
func (s *server) verifyAfter(r *http.Request) error {
	query, err := parseParameters(r, nil, "after")
	if err != nil {
		return err
	}
	after, err := parseAfter(query.Get("after"))
	if err != nil {
		return err
	}
	return s.waitAfter(r.Context(), after)
}

// verifyAnswer is what verify.Answer writes by hand.
type verifyAnswer struct {
	Valid       bool                     `json:"valid"`
	Code        outcome                  `json:"code" doc:"With NOT_FOUND only valid, code and position are there."`
	Key         string                   `json:"key_id,omitempty" doc:"Of a key."`
	Session     string                   `json:"session_id,omitempty" doc:"Of a session, which has no key_id."`
	User        string                   `json:"user_id,omitempty" doc:"Of a session."`
	Role        string                   `json:"role,omitempty" doc:"Of a session: the user's role in the organization."`
	Org         *string                  `json:"org_id,omitempty" nullable:"true" doc:"null: the whole installation, or of a session none"`
	Keyspace    string                   `json:"keyspace,omitempty" doc:"Of a session: the one that was asked for."`
	Env         string                   `json:"environment,omitempty" doc:"Of the keyspace, if it has some."`
	Owner       string                   `json:"owner,omitempty" doc:"Of a session: the user's id."`
	Name        string                   `json:"name,omitempty" doc:"Of a session: the user's e-mail address."`
	Scopes      []string                 `json:"scopes,omitempty"`
	ExpiresAt   *string                  `json:"expires_at,omitempty" nullable:"true" format:"date-time"`
	Metadata    map[string]string        `json:"metadata,omitempty"`
	RateLimits  []verifyAnswerRate       `json:"rate_limits,omitempty"`
	Quotas      []verifyAnswerQuota      `json:"quotas,omitempty" doc:"Uses in a calendar month (UTC) that the organization's plan allows, as far as it bounds them."`
	Requirement *verifyAnswerRequirement `json:"requirement,omitempty" doc:"With REQUIREMENT_UNMET: the first that is not met."`
	Position    uint64                   `json:"position" doc:"How far the read model was that decided."`
}

type verifyAnswerRate struct {
	Limit     int64  `json:"limit"`
	Window    string `json:"window" doc:"Like 1m."`
	Remaining int64  `json:"remaining"`
	Reset     int64  `json:"reset" doc:"When the window ends, in seconds since the Unix epoch."`
}

type verifyAnswerQuota struct {
	Of        string `json:"of" enum:"organization,owner,key" doc:"Whose uses count."`
	Limit     int64  `json:"limit"`
	Remaining int64  `json:"remaining"`
	Reset     int64  `json:"reset" doc:"When the month ends, in seconds since the Unix epoch."`
}

type verifyAnswerRequirement struct {
	Attribute string `json:"attribute" doc:"That is missing."`
	Of        string `json:"of" enum:"owner,organization" doc:"Whose it is."`
}

func (s *server) documentVerify() description {
	return description{summary: "Verify a presented key",
		details:    "The answer is 200 whatever becomes of the key; code tells. The use is on the ledger before the answer, unless the operator chose otherwise.",
		parameters: []*huma.Param{afterParam("Wait until the read model has this position.")},
		body:       &huma.RequestBody{Required: true, Content: s.jsonAnswer(verifyBody{})}, answer: s.jsonAnswer(verifyAnswer{})}
}
