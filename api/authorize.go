package api

import (
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"sync"

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

// An authorization is what one question needs; it is used again.
type authorization struct {
	question
	answer verify.Answer
}

var authorizations = sync.Pool{New: func() any { return new(authorization) }}

// authorize is forward authentication, as nginx, Traefik, Caddy, HAProxy and Envoy ask for it:
// 200 lets the request pass and says in headers whose it is; all else is what the gateway's
// client is answered.
//
// It is served ahead of the router: below the keyspace a gateway appends its client's own
// path and query, which are taken as they come.
func (m *middleware) authorize(w *responseRecorder, r *http.Request, ip netip.Addr) {
	a := authorizations.Get().(*authorization)
	defer authorizations.Put(a)
	a.question = question{Request: verify.Request{IP: ip, By: gateway, Sole: true, RequestID: w.id, Scopes: a.Scopes[:0]}}
	switch err := m.ask(w, r, a); {
	case err != nil:
		a.answer.Keyspace, a.answer.Limits = nil, nil // there is no answer
		m.refuse(w, r.WithContext(withRequestID(r, w.id)), a, caseOf(err), err)
	case a.answer.Outcome != domain.UseValid:
		m.refuse(w, r, a, domain.ReplyCase(a.answer.Outcome), a.refusal(m.Now()))
	default:
		a.identify(w.Header())
		a.showRateLimits(w.Header(), m.Now())
		w.WriteHeader(http.StatusOK)
	}
}

// ask reads the question and has it answered.
func (m *middleware) ask(w *responseRecorder, r *http.Request, a *authorization) error {
	if err := m.readQuestion(r, &a.question); err != nil {
		return err
	}
	if err := m.admit(w, a.IP); err != nil {
		return err
	}
	if a.After != 0 {
		if err := m.waitAfterForGateway(withRequestID(r, w.id), a.AfterParam); err != nil {
			return err
		}
	}
	if err := m.Verifier.Verify(r.Context(), &a.Request, &a.answer); err != nil {
		return err
	}
	w.access.verified(&a.answer)
	return nil
}

func (s *server) documentAuthorize() description {
	return description{summary: "Forward authentication for gateways", security: append(slices.Clone(withKey), map[string][]string{"basic": {}}),
		details: "The presented key is the credential; the keyspace says where it is looked for. 200 lets the request pass and says in headers whose it is. " +
			"All else is what the client is to be answered, as the keyspace says, or a problem. Any method is taken, and any path below, with any query, which are the client's.",
		parameters: []*huma.Param{queryParam("scope", "Scopes that the key must have, all of them.", listSchema(textSchema())), queryParam("refuse", "Refuse as nginx passes it on.", askFor403()),
			queryParam("org_id", "The same as X-Keytrail-Resource-Org-Id.", textSchema()), queryParam("cost", "The same as X-Keytrail-Cost.", costSchema()),
			afterParam("Wait up to a second until the read model has this position."), headerParam("X-Keytrail-After", "The same as after."),
			headerParam(scopeHeader, "More of them, separated by spaces or commas."),
			headerParam(resourceOrgHeader, "The organization whose the resource is, which must be the key's."),
			{Name: costHeader, In: "header", Description: "How many uses it counts as in rate limits. Believed from trusted proxies alone.", Schema: costSchema()},
			headerParam("X-Forwarded-Method", "The client's method; also X-Original-Method. Believed from trusted proxies alone."),
			headerParam("X-Forwarded-Uri", "The client's path and query; also X-Original-URI and X-Original-URL. Believed from trusted proxies alone."),
			{Name: "X-Keytrail-Refuse", In: "header", Description: "The same as refuse.", Schema: askFor403()}},
		headers: allHeaders(identityHeaders, rateLimitHeaders), refusalHeaders: allHeaders(refusalHeaders, rateLimitHeaders), refusalsVary: true}
}

func allHeaders(some, others map[string]string) map[string]string {
	all := maps.Clone(some)
	maps.Copy(all, others)
	return all
}

func askFor403() *huma.Schema  { return &huma.Schema{Type: "string", Enum: []any{"403"}} }
func costSchema() *huma.Schema { return intSchema(1, domain.MaxCost) }
