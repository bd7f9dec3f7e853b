package api_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/keytrail/keytrail/domain"
)

// productRoutes are those of a product whose clients call things otherwise.
const productRoutes = `,"sessions":{"routes":[
	{"method":"POST","path":"/auth/login","does":"log_in","fields":{"email":"user","password":"pass","org_id":"tenant"},"replies":[
		{"for":["OK"],"status":200,"headers":{"X-Shop":"yes"},"body":"{\"ok\":true,\"jwt\":\"{{.Token}}\",\"who\":\"{{.Name}}\",\"in\":\"{{.OrgID}}\"}"},
		{"for":["INVALID_CREDENTIALS"],"status":422,"content_type":"text/plain","body":"no"}]},
	{"method":"PUT","path":"/auth/tenant","does":"switch","fields":{"org_id":"tenant"}},
	{"method":"DELETE","path":"/auth","does":"sign_out","replies":[{"for":["OK"],"status":204}]},
	{"method":"GET","path":"/auth","does":"principal"}]}`

// A product's own routes do what its keyspace says, with the client's names and the product's answers.
func TestAProductHasItsOwnSessionRoutes(t *testing.T) {
	s := start(t)
	s.keyspace("shop", productRoutes)
	one, two := s.org("one"), s.org("two")
	const password, name = "seven blue lanterns drift", `A"d<a`
	ada := s.must(s.root, "POST", "/v1/users", `{"email":"ada@example.com","name":"A\"d<a","password":"`+password+`"}`)["id"].(string)
	s.must(s.root, "PUT", "/v1/organizations/"+one+"/members/"+ada, `{"role":"member"}`)
	s.must(s.root, "PUT", "/v1/organizations/"+two+"/members/"+ada, `{"role":"member"}`)
	const at = "/v1/products/shop"
	ask := func(token, method, path, body string) (int, http.Header, string) {
		t.Helper()
		return s.do(token, method, at+path, body)
	}

	credentials, _ := json.Marshal(map[string]any{"user": "ada@example.com", "pass": password, "tenant": one, "rememberMe": true})
	status, header, text := ask("", "POST", "/auth/login", string(credentials))
	var begun struct {
		OK      bool
		JWT     string
		Who, In string
	}
	if err := json.Unmarshal([]byte(text), &begun); err != nil || status != 200 || !begun.OK || begun.In != one || begun.Who != name || header.Get("X-Shop") != "yes" || header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %v %s", status, header, text)
	}
	wrong := strings.Replace(string(credentials), password, "another password than theirs", 1)
	if status, header, text := ask("", "POST", "/auth/login", wrong); status != 422 || text != "no" || header.Get("Content-Type") != "text/plain" {
		t.Errorf("a wrong password: %d %s", status, text)
	}
	if status, _, text := ask(begun.JWT, "GET", "/auth", ""); status != 200 || !strings.Contains(text, ada) || strings.Contains(text, begun.JWT) {
		t.Errorf("principal: %d %s", status, text)
	}
	status, _, text = ask(begun.JWT, "PUT", "/auth/tenant", `{"tenant":"`+two+`"}`)
	var switched struct {
		Token string `json:"token"`
		Org   string `json:"org_id"`
	}
	if err := json.Unmarshal([]byte(text), &switched); err != nil || status != 200 || switched.Org != two {
		t.Fatalf("switch: %d %s", status, text)
	}
	for _, c := range []struct {
		token, method, path, body string
		status                    int
		code                      string
	}{
		{begun.JWT, "GET", "/auth", "", 401, "invalid_credentials"}, // it was switched away from
		{"", "GET", "/auth", "", 401, "missing_credentials"},
		{s.root, "GET", "/auth", "", 0, "no_session"}, // a key has no session
		{switched.Token, "PUT", "/auth/tenant", `{"tenant":"` + string(domain.NewOrgID("none")) + `"}`, 404, "organization_not_found"},
		{switched.Token, "PUT", "/auth/tenant", `[]`, 400, "invalid_field"},
		{switched.Token, "PUT", "/auth/tenant", `{"tenant":7}`, 400, "invalid_field"},
		{"", "GET", "/auth/login", "", 405, "method_not_allowed"},
		{"", "POST", "/auth/nothing", "", 404, "route_not_found"},
	} {
		status, header, text := ask(c.token, c.method, c.path, c.body)
		if c.status != 0 && status != c.status || !strings.Contains(text, `"`+c.code+`"`) {
			t.Errorf("%s %s: %d %s", c.method, c.path, status, text)
		}
		if status == 405 && header.Get("Allow") != "POST" {
			t.Errorf("Allow: %v", header)
		}
	}
	if status, _, text := s.do("", "POST", "/v1/products/default/auth/login", string(credentials)); status != 404 {
		t.Errorf("of a keyspace without routes: %d %s", status, text)
	}
	if status, _, text := ask(switched.Token, "DELETE", "/auth", ""); status != 204 || text != "" {
		t.Errorf("sign-out: %d %s", status, text)
	}
	if status, _, _ := ask(switched.Token, "GET", "/auth", ""); status != 401 {
		t.Errorf("after it: %d", status)
	}
}
