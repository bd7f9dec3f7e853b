package api

import (
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/verify"
)

// gateway is the principal of a proxy's questions: the presented key is the only credential.
var gateway = domain.Principal{ID: "authorize", Org: domain.Installation}

// authorizePrefix is where gateways ask. What follows is the keyspace.
const authorizePrefix = "/v1/authorize/"

// authorizeRoute is the name of these requests in metrics and traces.
const authorizeRoute = "/v1/authorize/{keyspace}"

// A question is what a gateway asks about a client's request.
type question struct {
	verify.Request
	AfterParam
	as403 bool // 400 and 429 are answered as 403
}

// authorize is forward authentication, as nginx, Traefik, Caddy and Envoy ask for it: 200
// lets the request pass, and says in headers whose it is.
//
// It is served ahead of the router: below the keyspace a gateway appends its client's own
// path and query, which are taken as they come and not read.
func (m *middleware) authorize(w *responseRecorder, r *http.Request, ip netip.Addr) {
	q := question{Request: verify.Request{IP: ip, By: gateway, Sole: true, RequestID: w.id}}
	var a verify.Answer
	if err := m.ask(w, r, &q, &a); err != nil {
		problem := *m.asProblem(r.Context(), err)
		if q.as403 && (problem.Status == http.StatusBadRequest || problem.Status == http.StatusTooManyRequests) {
			maps.Copy(w.Header(), problem.GetHeaders()) // which go by the status
			problem.Status, problem.Title = http.StatusForbidden, http.StatusText(http.StatusForbidden)
		}
		m.problem(w, r, &problem)
		return
	}
	h, c := w.Header(), &a.Credential
	h.Set("X-Keytrail-Key-Id", string(c.Key))
	h.Set("X-Keytrail-Org-Id", string(c.Org))
	h.Set("X-Keytrail-Scopes", strings.Join(c.Scopes, " "))
	h.Set("X-Keytrail-Owner", url.PathEscape(c.Owner)) // even if there is none, so that no client can say one
	w.WriteHeader(http.StatusOK)
}

// ask reads the question and answers it. An outcome that does not let the request pass is an
// error.
func (m *middleware) ask(w *responseRecorder, r *http.Request, q *question, a *verify.Answer) error {
	if err := m.readQuestion(r, q); err != nil {
		return err
	}
	if err := m.admit(w, q.IP); err != nil {
		return err
	}
	if err := m.waitAfterForGateway(r.Context(), q.AfterParam); err != nil {
		return err
	}
	if err := m.Verifier.Verify(r.Context(), &q.Request, a); err != nil {
		return err
	}
	w.access.verified(a)
	return refuse(w, a)
}

// readQuestion reads a question. The query asks on exactly /v1/authorize/{keyspace}; the headers
// ask there and below. All scopes of all of them are needed, so that a client whose own
// headers a gateway passes on can ask for more, and never for less.
func (s *server) readQuestion(r *http.Request, q *question) (err error) {
	keyspace, _, below := strings.Cut(strings.TrimPrefix(r.URL.EscapedPath(), authorizePrefix), "/")
	var query url.Values
	if !below {
		if query, err = parseParameters(r, []string{"scope"}, "refuse", "after"); err != nil {
			return err
		}
	}
	for _, status := range slices.Concat(query["refuse"], r.Header["X-Keytrail-Refuse"]) { // first: it is about all that follows
		if status != "403" {
			return domain.InvalidField("refuse", "must be 403, or left out")
		}
		q.as403 = true
	}
	for _, text := range slices.Concat(query["after"], r.Header["X-Keytrail-After"]) {
		after, err := parseAfter(text)
		if err != nil {
			return err
		}
		q.After = max(q.After, after.After)
	}
	q.Scopes = query["scope"]
	for _, scopes := range r.Header["X-Keytrail-Scope"] {
		q.Scopes = append(q.Scopes, strings.FieldsFunc(scopes, func(c rune) bool { return c == ' ' || c == ',' || c == '\t' })...)
	}
	if _, err := s.Store.Keyspaces().Named(keyspace); err != nil || keyspace == domain.ManagementKeyspace {
		return domain.ErrKeyspaceNotFound
	}
	q.Keyspace = keyspace
	if err := s.checkVerify(&q.Request, ""); err != nil {
		return err
	}
	q.Secret, err = presentedToGateway(r)
	return err
}

// presentedToGateway also takes a key that a client sends as user name of basic
// authentication, which is all that some can.
func presentedToGateway(r *http.Request) (string, error) {
	if user, _, ok := r.BasicAuth(); ok && len(r.Header.Values("Authorization")) == 1 && strings.Join(r.Header.Values("X-API-Key"), "") == "" {
		return user, nil
	}
	secret, err := presented(r.Header)
	if err == nil && secret == "" {
		err = domain.ErrMissingKey
	}
	return secret, err
}

// refuse turns an outcome into what a gateway passes on to the client.
func refuse(w http.ResponseWriter, a *verify.Answer) error {
	w.Header().Set("X-Keytrail-Outcome", string(a.Outcome))
	if a.Outcome == domain.UseRateLimited {
		w.Header().Set("X-RateLimit-Reset", strconv.FormatInt(a.Reset(), 10))
		return a.RateLimited(time.Now())
	}
	return gatewayRefusal(a.Outcome)
}

// gatewayRefusal is how an outcome is refused; what is not known here, as an invalid key.
func gatewayRefusal(o domain.Outcome) error {
	switch o {
	case domain.UseValid:
		return nil
	case domain.UseInsufficientScope, domain.UseIPNotAllowed, domain.UseWrongOrganization, domain.UseRequirementUnmet, domain.UseOrgSuspended:
		return domain.NotAllowed(o)
	case domain.UseRateLimited:
		return domain.ErrRateLimited
	case domain.UseNotFound, domain.UseRevoked, domain.UseExpired, domain.UseDisabled:
		return domain.ErrInvalidKey
	}
	return errOtherOutcome
}

var errOtherOutcome = domain.ErrInvalidKey.In("")

func (s *server) documentAuthorize() description {
	return description{summary: "Forward authentication for gateways", security: append(slices.Clone(withKey), map[string][]string{"basic": {}}),
		details: "The presented key is the credential. 200 lets the request pass and says in headers whose it is. Any method is taken, and any path below, with any query, which are the client's and not read.",
		parameters: []*huma.Param{queryParam("scope", "Scopes that the key must have, all of them.", listSchema(textSchema())), queryParam("refuse", "Answer 400 and 429 as 403.", askFor403()),
			afterParam("Wait up to a second until the read model has this position."), headerParam("X-Keytrail-After", "The same as after."),
			headerParam("X-Keytrail-Scope", "More of them, separated by spaces or commas."), {Name: "X-Keytrail-Refuse", In: "header", Description: "The same as refuse.", Schema: askFor403()}},
		headers:        map[string]string{"X-Keytrail-Key-Id": "The key.", "X-Keytrail-Org-Id": "Its organization.", "X-Keytrail-Owner": "Its owner, percent-encoded.", "X-Keytrail-Scopes": "Its scopes, separated by spaces.", "X-Keytrail-Outcome": outcomeHeader},
		refusalHeaders: map[string]string{"X-Keytrail-Outcome": outcomeHeader, "X-RateLimit-Reset": "When the rate limit is free again, in seconds since the Unix epoch."}}
}

func askFor403() *huma.Schema { return &huma.Schema{Type: "string", Enum: []any{"403"}} }

const outcomeHeader = "What became of the key, if it came to that."
