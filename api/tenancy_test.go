package api_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/keytrail/keytrail/domain"
)

// anyID finds ids of the document's examples, and those that stand for one here.
var anyID = regexp.MustCompile(`\b(key|org|snk|ses|user)_([0-9a-z]{26}|0)\b`)

// TestAnotherTenantsIDsAreUnknown asks each operation of the document, wherever it takes an id,
// for what belongs to another organization. The answer is the one for an id that was never
// given out, and nothing changes. A route that is added to the document is asked too.
func TestAnotherTenantsIDsAreUnknown(t *testing.T) {
	s := start(t)
	acme, other := s.tenant("acme"), s.tenant("other")
	theirs := map[string]string{"key": other.admin, "org": other.org, "snk": s.sink(s.root, `{"org_id":"`+other.org+`","name":"n",`+hook+`}`)}
	unknown := map[string]string{"key": string(domain.NewKeyID("", "none")), "org": string(domain.NewOrgID("none")), "snk": string(domain.NewSinkID("", "none"))}
	eve := s.person("eve")
	eve.joins(other.org, domain.RoleOwner)
	theirs["use"], theirs["ses"] = string(eve.id), s.must(eve.logIn(other.org), "GET", "/v1/principal", "")["session_id"].(string)
	unknown["use"], unknown["ses"] = string(domain.NewUserID("none")), string(domain.NewSessionID("none"))
	before := s.seen(other.org)
	asked := 0
	for path, item := range s.document()["paths"].(map[string]any) {
		for method, op := range item.(map[string]any) {
			op, _ := op.(map[string]any)
			if method == "parameters" || !strings.HasPrefix(path, "/v1/") || strings.HasPrefix(path, "/v1/authorize") || strings.HasPrefix(path, "/v1/scim/") || strings.HasPrefix(path, "/v1/sso/") { // which is open to browsers
				continue
			}
			for _, request := range withIDs(path, op) {
				asked++
				var answers [2]string
				for i, ids := range []map[string]string{theirs, unknown} {
					fill := func(text string) string {
						return anyID.ReplaceAllStringFunc(text, func(id string) string { return ids[id[:3]] })
					}
					status, _, text := s.do(acme.adminSecret, strings.ToUpper(method), fill(request[0]), fill(request[1]))
					text = regexp.MustCompile(`"next_cursor":"[^"]+"`).ReplaceAllString(text, "")
					for what, id := range ids {
						text = strings.ReplaceAll(text, id, "the "+what)
					}
					answers[i] = fmt.Sprint(status, " ", text)
				}
				many := slices.Contains([]string{"listEvents", "revokeKeys", "importKeys"}, op["operationId"].(string)) // what is not found is left out
				want := "404"
				if strings.Contains(op["description"].(string), "installation-wide") || op["operationId"] == "switchSession" { // which is for sessions
					want = "403"
				}
				if answers[0] != answers[1] || !many && !strings.HasPrefix(answers[0], want) {
					t.Errorf("%s %s %s: of another tenant %s, of none %s", method, request[0], request[1], answers[0], answers[1])
				}
			}
		}
	}
	if after := s.seen(other.org); after != before {
		t.Errorf("the other tenant was %s, is %s", before, after)
	}
	if asked < 20 {
		t.Errorf("only %d requests take an id", asked)
	}
}

// bodiesWithIDs are those of operations whose example in the document does not have every
// member that takes an id.
var bodiesWithIDs = map[string][]string{
	"createKey":  {`{"org_id":"org_0","name":"n"}`},
	"importKeys": {`{"org_id":"org_0","name":"n","digest":"` + digestOf("x") + `"}`},
	"revokeKeys": {`{"ids":["key_0"]}`, `{"ids":["key_0"],"dry_run":true}`, `{"filter":{"org_id":"org_0","all":true}}`},
}

// withIDs are the requests of an operation, a path with its query and a body each, that have
// the id of a key or of an organization somewhere.
func withIDs(path string, op map[string]any) (requests [][2]string) {
	id := "key_0"
	if strings.HasPrefix(path, "/v1/organizations") {
		id = "org_0"
	}
	if strings.HasPrefix(path, "/v1/sessions") {
		id = "ses_0"
	}
	if strings.HasPrefix(path, "/v1/users") {
		id = "user_0"
	}
	if strings.HasPrefix(path, "/v1/sinks") {
		id = "snk_0"
	}
	path = strings.NewReplacer("{id}", id, "{owner}", "user_42", "{org}", "org_0", "{user}", string(domain.NewUserID("none")), "{role}", "auditor", "{invitation}", string(domain.NewInvitationID("", "none"))).Replace(path)
	var all [][2]string
	var bodies []string
	body, _ := op["requestBody"].(map[string]any)
	if body["required"] != true {
		bodies = []string{""}
	}
	if body != nil {
		media, _ := body["content"].(map[string]any)["application/json"].(map[string]any)
		example, _ := json.Marshal(media["example"])
		bodies = append(append(bodies, bodiesWithIDs[op["operationId"].(string)]...), string(example))
	}
	for _, body := range bodies {
		all = append(all, [2]string{path, body})
	}
	parameters, _ := op["parameters"].([]any)
	for _, p := range parameters {
		p := p.(map[string]any)
		if name := p["name"].(string); p["in"] == "query" && strings.HasSuffix(name, "_id") {
			all = append(all, [2]string{path + "?" + name + "=" + name[:4] + "0", bodies[0]})
		}
	}
	for _, r := range all {
		if anyID.MatchString(r[0] + r[1]) {
			requests = append(requests, r)
		}
	}
	return requests
}

// seen is what root sees of an organization.
func (s *service) seen(org string) string {
	return fmt.Sprint(s.must(s.root, "GET", "/v1/keys?org_id="+org, ""), s.must(s.root, "GET", "/v1/organizations/"+org, ""), s.must(s.root, "GET", "/v1/sinks?org_id="+org, ""))
}
