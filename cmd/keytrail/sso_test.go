package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

// ssoVerifier is a code verifier of the product's page.
const ssoVerifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"

func challenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// A ssoBench is the service behind a proxy, as browsers reach it, a provider, and a product's page.
type ssoBench struct {
	*running
	t        *testing.T
	public   *httptest.Server
	backend  atomic.Pointer[url.URL]
	issuer   string
	provider *exec.Cmd
	org      string
	returnTo string
}

// newSSOBench starts all of them. The provider is a process of another module.
func newSSOBench(t *testing.T) *ssoBench {
	b := &ssoBench{t: t, returnTo: "http://localhost/signed-in"}
	b.public = httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(b.backend.Load()); r.SetXForwarded() }})
	t.Cleanup(b.public.Close)
	b.start(t.TempDir())
	b.org = b.newOrg(t)
	b.startProvider()
	b.configure(map[string]any{})
	return b
}

func (b *ssoBench) start(data string) {
	b.running = launch(b.t, data, "--public-url", b.public.URL, "--sso-networks", "127.0.0.0/8")
	u, _ := url.Parse(b.url)
	b.backend.Store(u)
}

func (b *ssoBench) startProvider() {
	program := filepath.Join(b.t.TempDir(), "oidctest")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Dir = "../../internal/oidctest"
	if out, err := build.CombinedOutput(); err != nil {
		b.t.Fatalf("%v: %s", err, out)
	}
	b.provider = exec.Command(program, "--client", "keytrail hunter2hunter2 "+b.public.URL+"/v1/sso/"+b.org+"/callback")
	stdin, err := b.provider.StdinPipe() // open as long as it is to run
	if err != nil {
		b.t.Fatal(err)
	}
	out, err := b.provider.StdoutPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	if err := b.provider.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = stdin.Close(); _ = b.provider.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.t.Fatal(err)
	}
	b.issuer = strings.TrimSpace(line)
}

// configure makes the provider the organization's, with some members of the definition as given.
func (b *ssoBench) configure(with map[string]any) {
	definition := map[string]any{"issuer": b.issuer, "client_id": "keytrail", "client_secret": "hunter2hunter2", "group_roles": []map[string]string{{"group": "admins", "role": "admin"}, {"group": "staff", "role": "member"}}, "return_urls": []string{b.returnTo}}
	for name, value := range with {
		definition[name] = value
	}
	b.call(b.t, "PUT", "/v1/organizations/"+b.org+"/sso", definition, nil)
}

// atProvider changes something there.
func (b *ssoBench) atProvider(method, path string, body any) {
	text, _ := json.Marshal(body)
	r, _ := http.NewRequest(method, b.issuer+path, bytes.NewReader(text))
	a, err := http.DefaultClient.Do(r)
	if err != nil || a.StatusCode != 200 {
		b.t.Fatalf("%s %s: %v %v", method, path, a, err)
	}
	_ = a.Body.Close()
}

func (b *ssoBench) person(id, email string, groups ...string) {
	b.atProvider("PUT", "/test/users/"+id, map[string]any{"password": "p", "name": "Ada", "email": email, "groups": groups})
}

// A browser has cookies, and stops where it would leave the service and the provider.
type browser struct {
	*http.Client
	b *ssoBench
}

func (b *ssoBench) browser() browser {
	jar, _ := cookiejar.New(nil)
	return browser{&http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, b}
}

// get follows redirects up to one that does not begin with within, and gives that.
func (w browser) get(address string, until string) (last string) {
	for range 10 {
		if strings.HasPrefix(address, until) {
			return address
		}
		a, err := w.Get(address)
		if err != nil {
			w.b.t.Fatal(err)
		}
		_ = a.Body.Close()
		if a.StatusCode != http.StatusFound {
			return address
		}
		next, err := a.Location()
		if err != nil {
			w.b.t.Fatal(err)
		}
		address = next.String()
	}
	return address
}

// toLogin goes to the provider's page.
func (w browser) toLogin() (page string) {
	begin := w.b.public.URL + "/v1/sso/" + w.b.org + "/login?return_to=" + url.QueryEscape(w.b.returnTo) + "&code_challenge=" + challenge(ssoVerifier)
	return w.get(begin, w.b.issuer+"/login/")
}

// logIn fills in the provider's page, and gives the callback that the browser is sent to.
func (w browser) logIn(page, id string) (callback string) {
	u, err := url.Parse(page)
	if err != nil {
		w.b.t.Fatal(err)
	}
	a, err := w.PostForm(w.b.issuer+"/login/username", url.Values{"id": {u.Query().Get("authRequestID")}, "username": {id}, "password": {"p"}})
	if err != nil || a.StatusCode != http.StatusFound {
		w.b.t.Fatalf("%s: %v %v", page, a, err)
	}
	_ = a.Body.Close()
	next, _ := a.Location()
	return w.get(next.String(), w.b.public.URL+"/v1/sso/")
}

// finish takes the callback, and gives the parameters with which the browser is back at the product.
func (w browser) finish(callback string) url.Values {
	back := w.get(callback, w.b.returnTo)
	if !strings.HasPrefix(back, w.b.returnTo) {
		return nil
	}
	u, _ := url.Parse(back)
	return u.Query()
}

// code is what a person's log-in ends with.
func (b *ssoBench) code(id string) string {
	w := b.browser()
	q := w.finish(w.logIn(w.toLogin(), id))
	if q.Get("code") == "" {
		b.t.Fatalf("no code: %v", q)
	}
	return q.Get("code")
}

type ssoToken struct {
	Token string  `json:"token"`
	Code  string  `json:"code"` // of a refusal
	Org   *string `json:"org_id"`
	User  struct{ ID, Email string }
}

func (b *ssoBench) post(path, bearer string, body any) (status int, got ssoToken) {
	return b.ask("POST", path, bearer, body)
}

func (b *ssoBench) ask(method, path, bearer string, body any) (status int, got ssoToken) {
	b.t.Helper()
	text, _ := json.Marshal(body)
	r, _ := http.NewRequest(method, b.public.URL+path, bytes.NewReader(text))
	r.Header.Set("Content-Type", "application/json")
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer a.Body.Close()
	answer, _ := io.ReadAll(a.Body)
	_ = json.Unmarshal(answer, &got)
	return a.StatusCode, got
}

func (b *ssoBench) exchange(code, verifier string) (int, ssoToken) {
	b.t.Helper()
	return b.post("/v1/sessions/sso", "", map[string]string{"code": code, "code_verifier": verifier})
}

// wants exchanges a person's log-in, and demands an answer.
func (b *ssoBench) wants(id string, status int, code string) ssoToken {
	b.t.Helper()
	got, token := b.exchange(b.code(id), ssoVerifier)
	if got != status || token.Code != code {
		b.t.Fatalf("%s is answered %d %q, want %d %q: %s", id, got, token.Code, status, code, b.said)
	}
	return token
}

func (b *ssoBench) role(user string) string {
	var m struct{ Role string }
	status, _ := b.ask("GET", "/v1/organizations/"+b.org+"/members/"+user, b.rootKey(b.t), nil)
	if status != 200 {
		return ""
	}
	b.call(b.t, "GET", "/v1/organizations/"+b.org+"/members/"+user, nil, &m)
	return m.Role
}

// TestSingleSignOn: the whole log-in, by a browser with cookies and a provider that is a process.
func TestSingleSignOn(t *testing.T) {
	b := newSSOBench(t)
	b.person("ada", "ada@example.com", "staff")
	first := b.wants("ada", 201, "")
	if first.User.Email != "ada@example.com" || first.Org == nil || *first.Org != b.org {
		t.Fatalf("the session is %+v", first)
	}
	if status, _ := b.ask("GET", "/v1/principal", first.Token, nil); status != 200 {
		t.Fatalf("its token is answered %d", status)
	}

	// The second log-in is the same user's; groups give the role anew.
	b.person("ada", "ada@example.com", "admins", "staff")
	if again := b.wants("ada", 201, ""); again.User.ID != first.User.ID || b.role(first.User.ID) != "admin" {
		t.Errorf("%s is not %s, or %q", again.User.ID, first.User.ID, b.role(first.User.ID))
	}

	// Without a group they are out at once.
	b.person("ada", "ada@example.com")
	b.wants("ada", 403, "sso_no_role")
	if status, _ := b.ask("GET", "/v1/principal", first.Token, nil); status != 401 {
		t.Errorf("a session of a former member is answered %d", status)
	}

	// A code is good once, and for who began.
	b.person("ada", "ada@example.com", "staff")
	code := b.code("ada")
	if status, got := b.exchange(code, strings.Repeat("x", 43)); status != 401 || got.Code != "code_not_valid" {
		t.Errorf("another page's verifier is answered %d %q", status, got.Code)
	}
	if status, _ := b.exchange(code, ssoVerifier); status != 201 {
		t.Errorf("the code is answered %d", status)
	}
	if status, got := b.exchange(code, ssoVerifier); status != 401 || got.Code != "code_not_valid" {
		t.Errorf("a used code is answered %d %q", status, got.Code)
	}

	// Keys that the provider has rotated are found.
	b.atProvider("POST", "/test/rotate", nil)
	b.wants("ada", 201, "")

	// The provider is away: the browser is told, and not left hanging.
	w := b.browser()
	callback := w.logIn(w.toLogin(), "ada")
	_ = b.provider.Process.Kill()
	if q := w.finish(callback); q.Get("error") != "sso_unavailable" {
		t.Errorf("without the provider: %v", q)
	}
}

// TestSingleSignOnAcrossProcesses: another process takes the browser back.
func TestSingleSignOnAcrossProcesses(t *testing.T) {
	b := newSSOBench(t)
	b.person("ada", "ada@example.com", "staff")
	w := b.browser()
	page := w.toLogin()
	if code := b.end(t, syscall.SIGTERM); code != 0 {
		t.Fatalf("it ended with %d", code)
	}
	b.start(b.data)
	callback := w.logIn(page, "ada")

	// Not another browser, nor another organization.
	if q := b.browser().finish(callback); q != nil {
		t.Errorf("another browser is sent back with %v", q)
	}
	if q := w.finish(strings.Replace(callback, b.org, b.newOrg(t), 1)); q != nil {
		t.Errorf("at another organization it is sent back with %v", q)
	}
	q := w.finish(callback)
	if status, _ := b.exchange(q.Get("code"), ssoVerifier); status != 201 {
		t.Errorf("%v is answered %d: %s", q, status, b.said)
	}
	// A code of the provider is good once.
	if q := w.finish(callback); q.Get("error") != "sso_rejected" {
		t.Errorf("the callback again: %v", q)
	}
}

// TestAProviderGetsNobodyElsesUser: a provider that a tenant runs asserts another's address.
func TestAProviderGetsNobodyElsesUser(t *testing.T) {
	b := newSSOBench(t)
	var victim struct{ ID string }
	b.call(t, "POST", "/v1/users", map[string]string{"email": "victim@example.com", "name": "V", "password": "tangent lamp orbit"}, &victim)
	b.person("evil", "victim@example.com", "staff")
	made := b.wants("evil", 201, "")
	if made.User.ID == victim.ID {
		t.Fatal("the provider became the victim")
	}
	// It does not hold the address either: the other way round.
	b.person("early", "late@example.com", "staff")
	b.wants("early", 201, "")
	b.call(t, "POST", "/v1/users", map[string]string{"email": "late@example.com", "name": "L", "password": "tangent lamp orbit"}, nil)

	// A member with that address has to say so by logging in.
	b.call(t, "PUT", "/v1/organizations/"+b.org+"/members/"+victim.ID, map[string]string{"role": "owner"}, nil)
	b.person("again", "victim@example.com", "staff")
	b.wants("again", 409, "sso_email_taken")

	// A session of the provider links nothing to itself.
	if status, got := b.post("/v1/sessions/current/identities", made.Token, map[string]string{"code": b.code("again"), "code_verifier": ssoVerifier}); status != 403 || got.Code != "sso_session" {
		t.Errorf("linking is answered %d %q", status, got.Code)
	}
}

// TestEnforcedSingleSignOn: an organization's sessions are of its provider, and end with it.
func TestEnforcedSingleSignOn(t *testing.T) {
	b := newSSOBench(t)
	b.person("ada", "ada@example.com", "staff")
	session := b.wants("ada", 201, "")
	b.configure(map[string]any{"enforced": true})
	if status, _ := b.ask("GET", "/v1/principal", session.Token, nil); status != 200 {
		t.Errorf("a session of the provider is answered %d", status)
	}
	b.call(t, "DELETE", "/v1/organizations/"+b.org+"/sso", nil, nil)
	if status, _ := b.ask("GET", "/v1/principal", session.Token, nil); status != 401 {
		t.Errorf("a session of a provider that is no more is answered %d", status)
	}
}

// TestADirectoryAndAProviderHaveOneUser for a person, whichever is first, and however little it helps to
// claim a colleague's address.
func TestADirectoryAndAProviderHaveOneUser(t *testing.T) {
	b := newSSOBench(t)
	var key struct{ Secret string }
	b.call(t, "POST", "/v1/keys", map[string]any{"keyspace": "keytrail", "org_id": b.org, "name": "directory", "scopes": []string{"scim:write"}}, &key)
	provision := func(user map[string]any) string {
		t.Helper()
		user["schemas"] = []string{"urn:ietf:params:scim:schemas:core:2.0:User"}
		status, made := b.scim("POST", "/Users", key.Secret, user)
		if status != 201 {
			t.Fatalf("%v is answered %d", user, status)
		}
		return made.ID
	}
	patch := func(id string, active bool) {
		t.Helper()
		if status, _ := b.scim("PATCH", "/Users/"+id, key.Secret, map[string]any{"schemas": []string{"urn:ietf:params:scim:api:messages:2.0:PatchOp"}, "Operations": []map[string]any{{"op": "replace", "path": "active", "value": active}}}); status != 200 {
			t.Fatalf("active %v is answered %d", active, status)
		}
	}

	// The directory is first: by the address that the provider has verified, and by its id.
	ada, bob := provision(map[string]any{"userName": "ada@example.com"}), provision(map[string]any{"userName": "bob", "externalId": "id-of-bob"})
	b.person("ada", "ada@example.com", "admins")
	b.person("id-of-bob", "other@example.com", "staff")
	if got := b.wants("ada", 201, ""); got.User.ID != ada || b.role(ada) != "member" {
		t.Errorf("ada is %s %q, want %s with the directory's role", got.User.ID, b.role(ada), ada)
	}
	if got := b.wants("id-of-bob", 201, ""); got.User.ID != bob {
		t.Errorf("bob is %s, want %s", got.User.ID, bob)
	}

	// A second person with the address is not them; who has not verified it is somebody else.
	b.person("ada2", "ada@example.com", "staff")
	b.wants("ada2", 409, "sso_email_taken")
	carl := provision(map[string]any{"userName": "carl@example.com"})
	b.atProvider("PUT", "/test/users/mallory", map[string]any{"password": "p", "name": "M", "email": "carl@example.com", "unverified": true, "groups": []string{"staff"}})
	mallory := b.wants("mallory", 201, "").User.ID
	if mallory == carl {
		t.Error("an address that is not verified made a colleague")
	}

	// Who is not active is out, whatever the provider says, until they are again.
	patch(ada, false)
	b.wants("ada", 403, "sso_no_role")
	if b.role(ada) != "" {
		t.Error("the provider brought a user back whom the directory had made inactive")
	}
	patch(ada, true)
	b.wants("ada", 201, "")

	// The provider is first. An unverified address is not the person's then either.
	b.person("dora", "dora@example.com", "staff")
	dora := b.wants("dora", 201, "").User.ID
	if made := provision(map[string]any{"userName": "dora@example.com"}); made != dora {
		t.Errorf("the directory's dora is %s, want %s", made, dora)
	}
	given := b.role(dora)
	b.person("dora", "dora@example.com", "admins")
	if b.wants("dora", 201, ""); b.role(dora) != given {
		t.Errorf("the provider made dora %s, whom the directory has as %s", b.role(dora), given)
	}
	b.atProvider("PUT", "/test/users/trudy", map[string]any{"password": "p", "name": "T", "email": "boss@example.com", "unverified": true, "groups": []string{"staff"}})
	trudy := b.wants("trudy", 201, "").User.ID
	if made := provision(map[string]any{"userName": "boss@example.com"}); made == trudy {
		t.Error("an address that is not verified made the directory's boss")
	}
	b.person("id-of-eve", "eve@example.com", "staff")
	eve := b.wants("id-of-eve", 201, "").User.ID
	if made := provision(map[string]any{"userName": "eve", "externalId": "id-of-eve"}); made != eve {
		t.Errorf("the directory's eve is %s, want %s", made, eve)
	}
}

func (b *ssoBench) scim(method, path, bearer string, body any) (status int, got struct{ ID string }) {
	b.t.Helper()
	text, _ := json.Marshal(body)
	r, _ := http.NewRequest(method, b.public.URL+"/v1/scim/v2"+path, bytes.NewReader(text))
	r.Header.Set("Content-Type", "application/scim+json")
	r.Header.Set("Authorization", "Bearer "+bearer)
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer a.Body.Close()
	_ = json.NewDecoder(a.Body).Decode(&got)
	return a.StatusCode, got
}
