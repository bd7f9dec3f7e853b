package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keytrail/keytrail/api"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// A principal is a caller of the walk.
type principal struct {
	name   string
	secret string // of its key, or its session
	org    string // that it serves; "": the whole installation
	scopes []string
	renew  func() string // of a session, which some requests end: the secret of another one
}

func (p *principal) present() string {
	if p.renew != nil {
		return p.renew()
	}
	return p.secret
}

// A demand is what docs/permissions.md says of a route.
type demand struct {
	scope              string
	installation, open bool
	roles              map[string]bool // that may
}

// othersWith finds the scope that what is not one's own takes.
var othersWith = regexp.MustCompile("(?:those of others with|another one takes) `([a-z:]+)`(, installation-wide)?")

// demands are those of the page, by the routes. That the page is what the routes say is a test of its own.
func demands(t *testing.T) map[string]demand {
	t.Helper()
	page, err := os.ReadFile("../docs/permissions.md")
	if err != nil {
		t.Fatal(err)
	}
	all, roles := map[string]demand{}, []string{}
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		for i := range cells {
			cells[i] = strings.Trim(cells[i], " `")
		}
		switch {
		case len(cells) < 5 || strings.HasPrefix(cells[1], "---"):
		case cells[1] == "route":
			roles = cells[4 : len(cells)-1]
		case len(cells) == 5: // without a scope
			d := demand{open: cells[2] == "anyone"}
			if of := othersWith.FindStringSubmatch(line); of != nil { // the walk asks for those
				d.scope, d.installation = of[1], of[2] != ""
			}
			all[cells[1]] = d
		default:
			d := demand{scope: cells[2], installation: cells[3] == "yes", roles: map[string]bool{}}
			for i, role := range roles {
				d.roles[role] = cells[4+i] == "yes"
			}
			all[cells[1]] = d
		}
	}
	return all
}

// holds reports whether p has the scope that d demands. Of a built-in role the page itself says so
// for the routes that are not of the installation alone.
func (p *principal) holds(d demand) bool {
	if may, isRole := d.roles[p.name]; isRole && !d.installation {
		return may
	}
	return d.scope == "" || api.Holds(p.scopes, d.scope)
}

// A walk asks every route as every principal.
type walk struct {
	*service
	acme   string
	custom string // a role of its own
	made   int
	sinks  map[string]string // the latest of an organization, which can have fifty
}

// targets make what the parameters of paths name, of an organization. A route whose parameter is
// not here fails the walk.
var targets = map[string]func(w *walk, org string) string{
	"/v1/keys/{id}":                          (*walk).key,
	"/v1/organizations/{id}":                 func(_ *walk, org string) string { return org },
	"/v1/sinks/{id}":                         (*walk).onlySink,
	"/v1/organizations/{org}":                func(_ *walk, org string) string { return org },
	"/v1/sso/{org}":                          func(_ *walk, org string) string { return org },
	"/v1/sessions/{id}":                      func(w *walk, org string) string { return w.session(org) },
	"/v1/users/{id}":                         func(w *walk, org string) string { return string(w.member(org, domain.RoleMember).id) },
	"/v1/users/{user}":                       func(w *walk, org string) string { return string(w.member(org, domain.RoleMember).id) },
	"/v1/organizations/{org}/members/{user}": func(w *walk, org string) string { return string(w.member(org, domain.RoleMember).id) },
	"/v1/organizations/{org}/roles/{role}":   (*walk).role,
	"/v1/organizations/{org}/invitations/{invitation}": func(w *walk, org string) string {
		_, _, text := w.do(w.root, "POST", "/v1/organizations/"+org+"/invitations", w.invitation())
		return regexp.MustCompile(`inv_[0-9a-z]{26}`).FindString(text)
	},
	"/v1/owners/{owner}":                         func(*walk, string) string { return "user_42" },
	"/v1/keyspaces/{name}":                       (*walk).keyspace,
	"/v1/plans/{name}":                           (*walk).plan,
	"/v1/projections/{name}":                     func(*walk, string) string { return "keys" },
	"/v1/events/{position}":                      (*walk).position,
	"/v1/trail/{stream}":                         func(*walk, string) string { return "events" },
	"/v1/trail/{stream}/tile/{level}":            func(*walk, string) string { return "0" },
	"/v1/trail/{stream}/tile/{level}/{index...}": func(*walk, string) string { return "000.p/1" },
	"/v1/trail/{stream}/tile/entries/{index...}": func(*walk, string) string { return "000.p/1" },
	"/v1/products/{keyspace}":                    func(*walk, string) string { return "default" },
	"/v1/products/{keyspace}/{path...}":          func(*walk, string) string { return "login" },
	"/v1/authorize/{keyspace}":                   func(*walk, string) string { return "default" },
	"/v1/scim/v2/ResourceTypes/{id}":             func(*walk, string) string { return "User" },
	"/v1/scim/v2/Schemas/{id}":                   func(*walk, string) string { return "urn:ietf:params:scim:schemas:core:2.0:User" },
	"/v1/scim/v2/Users/{id}":                     func(w *walk, org string) string { return w.provisioned(org, "/v1/scim/v2/Users", w.scimUser()) },
	"/v1/scim/v2/Groups/{id}":                    func(w *walk, org string) string { return w.provisioned(org, "/v1/scim/v2/Groups", w.scimGroup()) },
	"/docs/{file}":                               func(*walk, string) string { return "LICENSE" },
}

func (w *walk) key(org string) string {
	id, _ := w.create(w.root, `{"org_id":"`+org+`","name":"n"}`)
	return id
}

func (w *walk) onlySink(org string) string {
	if before := w.sinks[org]; before != "" {
		w.do(w.root, "DELETE", "/v1/sinks/"+before, "")
	}
	w.sinks[org] = w.sink(w.root, `{"org_id":"`+org+`","name":"n",`+hook+`}`)
	return w.sinks[org]
}

// member is a new person in an organization.
func (w *walk) member(org, role string) *person {
	p := w.person(w.unique("ada"))
	p.joins(org, role)
	return p
}

// role is one of an organization's own.
func (w *walk) role(org string) string {
	name := w.unique("role")
	w.must(w.root, "PUT", "/v1/organizations/"+org+"/roles/"+name, `{"scopes":["members:read"]}`)
	return name
}

func (w *walk) invitation() string {
	return `{"email":"` + w.unique("ada") + `@example.com","role":"member"}`
}

// session is the id of one of a new person's.
func (w *walk) session(org string) string {
	token := w.member(org, domain.RoleMember).logIn(org)
	return w.must(token, "GET", "/v1/sessions", "")["items"].([]any)[0].(map[string]any)["id"].(string)
}

// position is that of an event of an organization.
func (w *walk) position(org string) string {
	_, header, _ := w.do(w.root, "POST", "/v1/keys", `{"org_id":"`+org+`","name":"n"}`)
	return header.Get("Keytrail-Position")
}

// provisioned is the id of what a directory provisions.
func (w *walk) provisioned(org, path, body string) string {
	directory := w.withKey("directory", org, "scim:write")
	return w.must(directory.secret, "POST", path, body)["id"].(string)
}

func (w *walk) scimUser() string {
	return `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"` + w.unique("ada") + `@acme.example","active":true}`
}

func (w *walk) scimGroup() string {
	return `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"displayName":"` + w.unique("group") + `"}`
}

const scimPatch = `{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{"op":"replace","value":{"externalId":"x"}}]}`

func (w *walk) unique(name string) string { w.made++; return fmt.Sprint(name, w.made) }

func (w *walk) keyspace(string) string {
	name := w.unique("shop")
	w.must(w.root, "POST", "/v1/keyspaces", keyspaceNamed(name))
	return name
}

func keyspaceNamed(name string) string {
	return `{"name":"` + name + `","format":{"prefix":"` + name + `_","alphabet":"base62","length":32}}`
}

func (w *walk) plan(string) string {
	name := w.unique("pro")
	w.must(w.root, "PUT", "/v1/plans/"+name, w.example("putPlan"))
	return name
}

// bodies are those of operations whose example of the document would be refused here.
var bodies = map[string]func(w *walk, org string) string{
	"createKey": func(_ *walk, org string) string { return `{"org_id":"` + org + `","name":"n"}` },
	"importKeys": func(w *walk, org string) string {
		return `{"org_id":"` + org + `","name":"n","digest":"` + digestOf(w.unique("x")) + `"}`
	},
	"revokeKeys":     func(w *walk, org string) string { return `{"ids":["` + w.key(org) + `"]}` },
	"createSink":     func(_ *walk, org string) string { return `{"org_id":"` + org + `","name":"n",` + hook + `}` },
	"defineKeyspace": func(w *walk, _ string) string { return keyspaceNamed(w.unique("shop")) },
	"putKeyspace": func(w *walk, _ string) string {
		return `{"format":{"prefix":"` + w.unique("put") + `_","alphabet":"base62","length":32}}`
	},
	"updateOrganization": func(*walk, string) string { return `{"name":"globex"}` },
	"updateSink":         func(*walk, string) string { return `{"name":"m"}` },
	"removeMember":       func(*walk, string) string { return "" }, // what happens to the keys takes another scope
	"removeUser":         func(*walk, string) string { return "" },
	"putDirectory":       func(*walk, string) string { return `{"group_roles":[]}` },
	"scimCreateUser":     func(w *walk, _ string) string { return w.scimUser() },
	"scimPutUser":        func(w *walk, _ string) string { return w.scimUser() },
	"scimPatchUser":      func(*walk, string) string { return scimPatch },
	"scimCreateGroup":    func(w *walk, _ string) string { return w.scimGroup() },
	"scimPutGroup":       func(w *walk, _ string) string { return w.scimGroup() },
	"scimPatchGroup":     func(*walk, string) string { return scimPatch },
	"createUser":         func(w *walk, _ string) string { return `{"email":"` + w.unique("eve") + `@example.com","name":"Eve"}` },
	"updateUser":         func(*walk, string) string { return `{"name":"Eve"}` },
	"putMember":          func(*walk, string) string { return `{"role":"member"}` },
	"putRole":            func(*walk, string) string { return `{"scopes":["members:read"]}` },
	"createInvitation":   func(w *walk, _ string) string { return w.invitation() },
	"switchSession":      func(_ *walk, org string) string { return `{"org_id":"` + org + `"}` },
	"introspect":         func(*walk, string) string { return "token=x" },
}

// beyond are the answers to operations that cannot succeed here: what refuses them comes after
// the permission.
var beyond = map[string]string{"revealKey": "409", "linkIdentity": "503", "readSSO": "404", "testSink": "503"}

// strangers are the answers to callers without credentials, of open routes.
var strangers = map[string]int{
	"askProduct": 404, "postToProduct": 404, "putToProduct": 404, "deleteAtProduct": 404,
	"revokeSelf": 401, "reportLeaks": 202, "reportGitHubLeaks": 404, "deriveToken": 401, "keySet": 200, "authorize": 401,
	"livez": 200, "readyz": 200, "metrics": 200, "openapi": 200, "docs": 200, "docsFile": 200, "acceptInvitation": 404, "logIn": 401, "resetPassword": 404, "beginSSO": 503, "exchangeCode": 503, "finishSSO": 503}

// example is the body of an operation in the document.
func (w *walk) example(id string) string {
	for _, item := range w.document()["paths"].(map[string]any) {
		for _, op := range item.(map[string]any) {
			op, _ := op.(map[string]any)
			body, _ := op["requestBody"].(map[string]any)
			if op["operationId"] != id || body == nil {
				continue
			}
			media, _ := body["content"].(map[string]any)["application/json"].(map[string]any)
			text, _ := json.Marshal(media["example"])
			return string(text)
		}
	}
	return ""
}

var parameterOfPath = regexp.MustCompile(`\{[^}]+\}`)

// path is a route's path with what of names.
func (w *walk) path(r api.Route, org string) string {
	path := r.Path
	for _, at := range parameterOfPath.FindAllStringIndex(r.Path, -1) {
		target := targets[r.Path[:at[1]]]
		if target == nil {
			w.t.Fatalf("%s %s: the walk has no target for %s", r.Method, r.Path, r.Path[:at[1]])
		}
		path = strings.Replace(path, r.Path[at[0]:at[1]], target(w, org), 1)
	}
	return path
}

// A request asks a route.
type request struct {
	api.Route
	path, body string
}

// request is one about an organization.
func (w *walk) request(r api.Route, org string) request {
	q := request{r, w.path(r, org), ""}
	if r.ID == "listSessions" {
		q.path += "?user_id=" + string(w.member(org, domain.RoleMember).id)
	}
	if body := bodies[r.ID]; body != nil {
		q.body = body(w, org)
	} else if r.Method != http.MethodGet {
		q.body = w.example(r.ID)
	}
	return q
}

func (w *walk) ask(q request, secret string) (status int, text string) {
	w.t.Helper()
	headers := []string{}
	if q.ID == "introspect" {
		headers = []string{"Content-Type", "application/x-www-form-urlencoded"}
	}
	status, _, text = w.do(secret, q.Method, q.path, q.body, headers...)
	return status, text
}

// end is the ledger's, of the events: refusals leave them as they are.
func (w *walk) end() eventstore.Position {
	w.t.Helper()
	end, err := w.ledger.End(w.t.Context(), eventstore.Events)
	if err != nil {
		w.t.Fatal(err)
	}
	return end
}

// principals are the callers of a route that needs a scope, of which there are all.
func (w *walk) principals(scope string, all []string) []principal {
	but := slices.DeleteFunc(slices.Clone(all), func(s string) bool { return s == scope })
	callers := []principal{{name: "root", secret: w.root, scopes: []string{"*"}},
		w.withKey("the scope alone", w.acme, scope), w.withKey("the scope alone, installation-wide", "", scope),
		w.withKey("all other scopes", w.acme, but...), w.withKey("all other scopes, installation-wide", "", but...),
		w.withSession(w.custom, "keys:*", "sinks:read")}
	for _, role := range domain.BuiltInRoles() {
		scopes, _ := domain.BuiltInRole(role)
		callers = append(callers, w.withSession(role, scopes...))
	}
	return callers
}

// withSession is a caller with the session of a member who has a role.
func (w *walk) withSession(role string, scopes ...string) principal {
	p := w.member(w.acme, role)
	return principal{name: role, org: w.acme, scopes: scopes, renew: func() string { return p.logIn(w.acme) }}
}

// withKey is a caller with a management key.
func (w *walk) withKey(name, org string, scopes ...string) principal {
	scopes = slices.DeleteFunc(scopes, func(s string) bool { return s == "" }) // that of a route which needs none
	list, _ := json.Marshal(append([]string{}, scopes...))
	body := fmt.Sprintf(`{"keyspace":"keytrail","name":%q,"scopes":%s}`, name, list)
	if org != "" {
		body = `{"org_id":"` + org + `",` + body[1:]
	}
	_, secret := w.create(w.root, body)
	return principal{name: name, secret: secret, org: org, scopes: scopes}
}

// TestEveryRouteDemandsWhatTheTableSays asks each as each kind of caller.
func TestEveryRouteDemandsWhatTheTableSays(t *testing.T) {
	w := &walk{service: startSigned(t), sinks: map[string]string{}}
	w.acme, w.custom = w.org("acme"), "support"
	w.person("founder").happens(eventstore.MembersRef(domain.OrgID(w.acme)), domain.RoleDefined{Role: w.custom, Scopes: []string{"keys:*", "sinks:read"}, Header: now()})
	routes := api.Routes(t)
	table, all := demands(t), []string{}
	for _, d := range table {
		if d.scope != "" && !slices.Contains(all, d.scope) {
			all = append(all, d.scope)
		}
	}
	if len(table) != len(routes) || len(all) < 15 {
		t.Fatalf("the page has %d routes of %d, and %d scopes", len(table), len(routes), len(all))
	}
	rival := w.withKey("another organization's owner", w.org("other"), append(all, "*")...)
	callers := map[string][]principal{}
	for _, r := range routes {
		d := table[r.Pattern]
		if callers[d.scope] == nil {
			callers[d.scope] = w.principals(d.scope, all)
		}
		w.walk(r, d, callers[d.scope])
		if !d.open {
			w.elsewhere(r, d, rival)
		}
	}
}

// walkedID finds the ids in paths, positions among them.
var walkedID = regexp.MustCompile(`\b([a-z]+)_[0-9a-z]{26}\b|/events/\d+`)

// elsewhere asks for what is another organization's: the answer is that for what does not exist,
// and nothing changes.
func (w *walk) elsewhere(r api.Route, d demand, rival principal) {
	request := w.request(r, w.acme)
	if !walkedID.MatchString(request.path) {
		return // it names nothing of an organization's
	}
	before := w.end()
	status, text := w.ask(request, rival.secret)
	request.path = walkedID.ReplaceAllStringFunc(request.path, func(id string) string {
		if prefix, _, found := strings.Cut(id, "_"); found {
			return prefix + "_" + strings.Repeat("0", 26)
		}
		return "/events/999999999"
	})
	if noStatus, noText := w.ask(request, rival.secret); status != 403 && status != 404 && r.ID != "listSessions" || noStatus != status || noText != text {
		w.t.Errorf("%s of another organization: %d %s, of none: %d %s", r.Pattern, status, text, noStatus, noText)
	}
	if w.end() != before && d.scope != "audit:read" { // a read of the trail is on it, whatever it finds
		w.t.Errorf("%s of another organization changed something", r.Pattern)
	}
}

func (w *walk) walk(r api.Route, d demand, callers []principal) {
	route := r.Pattern
	if d.open {
		want, known := strangers[r.ID]
		if status, text := w.ask(w.request(r, w.acme), ""); !known || status != want {
			w.t.Errorf("%s is open, and answers a stranger %d %s, want %d", route, status, text, want)
		}
		return
	}
	request := w.request(r, w.acme)
	refused := func(name, secret string, want int, code string) {
		before := w.end()
		status, text := w.ask(request, secret)
		if status != want || !strings.Contains(text, `"code":"`+code+`"`) && !strings.Contains(text, "("+code+")") {
			w.t.Errorf("%s as %s: %d %s, want %d %s", route, name, status, text, want, code)
		}
		if w.end() != before {
			w.t.Errorf("%s as %s was refused, and changed something", route, name)
		}
	}
	refused("a stranger", "", 401, "missing_credentials")
	refused("one with a key that is none", "kt_0000000000000000000000000000000000000000000000", 401, "invalid_credentials")
	for _, p := range callers {
		switch {
		case r.ID == "revokeSessions" && p.org != "": // whom tenants do not tell from nobody
			refused(p.name, p.present(), 404, "user_not_found")
		case !p.holds(d):
			refused(p.name, p.present(), 403, "scope_missing")
		case d.installation && p.org != "":
			refused(p.name, p.present(), 403, "organization_out_of_reach")
		case strings.HasPrefix(r.Path, "/v1/scim/") && p.org == "": // a directory is one organization's
			refused(p.name, p.secret, 403, "no_directory")
		default:
			w.allowed(r, p)
		}
	}
}

// beyondScopes are refusals for something else than the scope: what is in a role, or the password.
var beyondScopes = regexp.MustCompile(`"code":"(role_escalation|wrong_password)"`)

// notSigned are the answers of the Merkle logs until their next checkpoint.
var notSigned = regexp.MustCompile(`"code":"(no_checkpoint|not_signed_yet|tile_not_found)"`)

// allowed asks with what is made for this request: it may end it.
func (w *walk) allowed(r api.Route, p principal) {
	org := p.org
	if org == "" {
		org = w.org("spare")
	}
	request := w.request(r, org)
	secret := p.present()
	status, text := w.ask(request, secret)
	for deadline := time.Now().Add(20 * time.Second); notSigned.MatchString(text) && time.Now().Before(deadline); {
		status, text = w.ask(request, secret)
	}
	if beyondScopes.MatchString(text) || p.renew == nil && strings.Contains(text, `"code":"no_session"`) {
		return // the scope suffices, and a key has no sessions
	}
	if want := beyond[r.ID]; want == "" && status >= 300 || want != "" && want != fmt.Sprint(status) {
		w.t.Errorf("%s as %s: %d %.300s, want %q", r.Pattern, p.name, status, text, want)
	}
}
