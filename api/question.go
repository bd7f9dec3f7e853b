package api

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/verify"
)

// The headers in which a gateway says what the client's request needs.
const (
	scopeHeader       = "X-Keytrail-Scope"
	resourceOrgHeader = "X-Keytrail-Resource-Org-Id"
	costHeader        = "X-Keytrail-Cost"
)

// A question is what a gateway asks about a client's request.
type question struct {
	verify.Request
	AfterParam
	keyspace *domain.Keyspace
	as403    bool // nginx asks, which passes on no refusals but 401 and 403
}

// readQuestion reads a question. The query asks on exactly /v1/authorize/{keyspace}; the headers
// ask there and below.
func (m *middleware) readQuestion(r *http.Request, q *question) (err error) {
	name, below, isBelow := strings.Cut(strings.TrimPrefix(r.URL.EscapedPath(), authorizePrefix), "/")
	var query url.Values
	if isBelow {
		below = "/" + below
	} else if r.URL.RawQuery != "" {
		if query, err = parseParameters(r, []string{"scope"}, "refuse", "after", "org_id", "cost"); err != nil {
			return err
		}
	}
	if err := q.readManner(r.Header, query); err != nil { // first: it is about all that follows
		return err
	}
	if q.keyspace, err = m.Store.Keyspaces().Named(name); err != nil || name == domain.ManagementKeyspace {
		q.keyspace = nil
		return domain.ErrKeyspaceNotFound
	}
	q.Keyspace = name
	if tokens := q.keyspace.Tokens; tokens != nil {
		q.Audience = tokens.Audience // a token that was made for another service is not one for this gateway
	}
	trusted := m.trusted(peerOf(r))
	if err := m.readDemands(r, query, trusted, q); err != nil {
		return err
	}
	if err := m.checkVerify(&q.Request, verifyTexts{}); err != nil {
		return err
	}
	original, err := originalRequestOf(r, below, trusted)
	if err != nil {
		return err
	}
	if q.Secret, err = presentedToGateway(q.keyspace, r.Header, original.query); err != nil {
		return err
	}
	if q.keyspace.Gateway.RecordResource {
		q.Resource = original.resource(q.Secret)
	}
	return nil
}

// readManner reads how the question is to be answered.
func (q *question) readManner(h http.Header, query url.Values) error {
	for _, status := range slices.Concat(query["refuse"], h["X-Keytrail-Refuse"]) {
		if status != "403" {
			return domain.InvalidField("refuse", "must be 403, or left out")
		}
		q.as403 = true
	}
	for _, text := range slices.Concat(query["after"], h["X-Keytrail-After"]) {
		after, err := parseAfter(text)
		if err != nil {
			return err
		}
		q.After = max(q.After, after.After)
	}
	return nil
}

// readDemands reads what the key must have for the request. All scopes are needed that any
// header or the query names, so that a client whose own headers a gateway passes on can ask for more, and never for
// less. An organization is heeded for the same reason: it can only refuse, and a gateway that was
// not made a trusted proxy must not let the keys of others pass. A cost counts only if a trusted
// gateway names it, and so does all that the keyspace demands.
func (m *middleware) readDemands(r *http.Request, query url.Values, trusted bool, q *question) (err error) {
	q.Scopes = append(q.Scopes, query["scope"]...)
	for _, scopes := range r.Header[scopeHeader] {
		for scope := range strings.FieldsFuncSeq(scopes, func(c rune) bool { return c == ' ' || c == ',' || c == '\t' }) {
			q.Scopes = append(q.Scopes, scope)
		}
	}
	org, cost := slices.Concat(query["org_id"], r.Header[resourceOrgHeader]), slices.Concat(query["cost"], r.Header[costHeader])
	if !trusted && len(cost) > 0 {
		cost = nil
		m.saidByStranger.Do(func() {
			m.Logger.Warn("ignored "+costHeader+", which comes from none of the trusted proxies; this is said once", "peer", r.RemoteAddr)
		})
	}
	if err := q.readOrgAndCost(org, cost); err != nil {
		return err
	}
	return q.checkDemanded(trusted)
}

// readOrgAndCost takes any text for an organization: a gateway reads it from its client's path,
// and what is no organization is not the key's.
func (q *question) readOrgAndCost(orgs, costs []string) error {
	org, err := atMostOne(resourceOrgHeader, orgs)
	if err != nil {
		return err
	}
	q.ResourceOrg = domain.OrgID(org)
	cost, err := atMostOne(costHeader, costs)
	if err != nil || cost == "" {
		return err
	}
	if q.Cost, err = strconv.ParseInt(cost, 10, 64); err != nil || q.Cost < 1 || q.Cost > domain.MaxCost {
		return domain.InvalidField(costHeader, "must be a whole number from 1 to %d", domain.MaxCost)
	}
	return nil
}

// atMostOne is the one value, "" if there is none.
func atMostOne(name string, values []string) (string, error) {
	switch len(values) {
	case 0:
		return "", nil
	case 1:
		return values[0], nil
	}
	return "", domain.InvalidField(name, "may be said once")
}

// checkDemanded refuses a question that does not say what the keyspace demands of its gateways.
func (q *question) checkDemanded(trusted bool) error {
	for _, demand := range q.keyspace.Gateway.Demands {
		header, said := "", false
		switch demand {
		case "scope":
			header, said = scopeHeader, len(q.Scopes) > 0
		case "organization":
			header, said = resourceOrgHeader, q.ResourceOrg != ""
		case "cost":
			header, said = costHeader, q.Cost > 0
		}
		if !said || !trusted {
			return domain.ErrGatewayDemand.In(header)
		}
	}
	return nil
}
