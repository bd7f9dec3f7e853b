package api

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
)

// readings are the events that tell of routes which show data, by the scope that such a route
// needs. Those of the trail itself are told by readTrail.
var readings = map[string]func(domain.Reading) domain.Sum{
	"keys:read":     func(r domain.Reading) domain.Sum { return domain.KeysRead{Reading: r} },
	"keys:export":   func(r domain.Reading) domain.Sum { return domain.KeysRead{Reading: r} },
	"users:read":    func(r domain.Reading) domain.Sum { return domain.UsersRead{Reading: r} },
	"members:read":  func(r domain.Reading) domain.Sum { return domain.MembersRead{Reading: r} },
	"sessions:read": func(r domain.Reading) domain.Sum { return domain.SessionsRead{Reading: r} },
}

// record puts on record what became of the request of a caller who is known: data was read, or
// the caller was refused. It is the same work for what is another organization's and for what does
// not exist.
func (s *server) record(r *http.Request, p domain.Principal, route routePermission, err error) {
	switch of := readingOf(r, p, route); {
	case err != nil:
		s.Commands.RecordRefusal(p, route.pattern, route.scope, err)
	case of != nil:
		query := r.URL.Query()
		from, to, _ := parseTimes(query) // the handler has refused what is none
		s.Commands.RecordRead(commands.DataRead{By: p, Org: s.organizationRead(r, p), Of: of, Route: route.pattern, Filter: s.readFilter(r, query, route.pattern), From: from, To: to})
	}
}

// readingOf is the event of what a route shows, if it shows data of others: one's own sessions are
// listed without a scope.
func readingOf(r *http.Request, p domain.Principal, route routePermission) func(domain.Reading) domain.Sum {
	if user := r.URL.Query().Get("user_id"); route.id == "listSessions" && user != "" && user != string(p.User) {
		return readings["sessions:read"]
	}
	if route.id == "listInvitations" { // which takes the scope to invite
		return readings["members:read"]
	}
	return readings[route.scope]
}

// organizationRead is the organization that a request read of, whose auditors are told; the
// Installation if that is several.
func (s *server) organizationRead(r *http.Request, p domain.Principal) domain.OrgID {
	if !p.Reach().All {
		return p.Org
	}
	for _, named := range []string{r.URL.Query().Get("org_id"), r.PathValue("id"), r.PathValue("org")} {
		if org, err := domain.ParseOrgID(named); err == nil {
			if _, err := s.Store.Organization(org); err == nil {
				return org
			}
		}
		if id, err := domain.ParseKeyID(named); err == nil {
			if k, err := s.Store.Key(domain.All, id); err == nil {
				return k.Org
			}
		}
	}
	return domain.Installation
}

// unfiltered are the parameters that do not choose what is read: the range of times, which a
// sum has by itself, and how pages are cut.
var unfiltered = map[string]bool{"from": true, "to": true, "limit": true, "cursor": true, "sort": true, "step": true, "after": true, "at": true}

// readFilter is what a request chose by. What could be a secret, put there by mistake, does not
// come on the trail.
func (s *server) readFilter(r *http.Request, query url.Values, pattern string) map[string]string {
	filter := map[string]string{}
	for name, values := range query {
		if !unfiltered[name] {
			filter[name] = s.unsecret(name, strings.Join(values, ","))
		}
	}
	for _, name := range pathParameter.FindAllStringSubmatch(pattern, -1) {
		filter[name[1]] = s.unsecret(name[1], r.PathValue(name[1]))
	}
	return filter
}

// unsecret is a parameter's value, if that is no secret, and no prefix, which may be most of one.
func (s *server) unsecret(name, value string) string {
	if name == "prefix" || s.Store.Keyspaces().Shaped(value) || s.isSecret(value) {
		return "[not kept]"
	}
	return value
}

// isSecret reports whether a text is an imported secret, which may have any shape.
func (s *server) isSecret(text string) bool {
	if !s.Store.Keyspaces().Possible("", text) {
		return false
	}
	digest := domain.NewSecret(text).Digest()
	holders, err := s.Store.Credentials(&digest)
	return err != nil || len(holders) > 0
}
