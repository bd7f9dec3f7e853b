package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keytrail/keytrail/internal/token"
)

// shop makes a keyspace with tokens, and a key there.
func (s *service) shop() (id, secret string) {
	s.t.Helper()
	s.must(s.root, "POST", "/v1/keyspaces", `{"name":"shop","tokens":{},"format":{"prefix":"sh_","alphabet":"base36","length":32,"shown":4}}`)
	return s.create(s.root, `{"org_id":"`+s.org("acme")+`","keyspace":"shop","name":"till","scopes":["orders:*"]}`)
}

func (s *service) shopOutcome(key string) string {
	s.t.Helper()
	return s.must(s.root, "POST", "/v1/verify", fmt.Sprintf(`{"key":%q,"keyspace":"shop"}`, key))["code"].(string)
}

// TestATokenIsAsGoodAsItsKeyIsNow changes the key after the token was derived.
func TestATokenIsAsGoodAsItsKeyIsNow(t *testing.T) {
	s := start(t)
	id, secret := s.shop()
	derive := func(secret string) string {
		t.Helper()
		return s.must(secret, "POST", "/v1/tokens", "")["token"].(string)
	}
	expect := func(what, key, want string) {
		t.Helper()
		if got := s.shopOutcome(key); got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	first := derive(secret)
	expect("a token", first, "VALID")
	status, header, _ := s.do(first, "GET", "/v1/authorize/shop?scope=orders:read", "")
	if status != http.StatusOK || header.Get("X-Keytrail-Key-Id") != id {
		t.Errorf("through a gateway: %d %v", status, header)
	}

	s.must(s.root, "POST", "/v1/keys/"+id+"/disable", "")
	expect("of a disabled key", first, "DISABLED")
	s.must(s.root, "POST", "/v1/keys/"+id+"/enable", "")
	s.must(s.root, "PATCH", "/v1/keys/"+id, `{"scopes":["orders:read","stock:read"]}`)
	answer := s.must(s.root, "POST", "/v1/verify", fmt.Sprintf(`{"key":%q}`, first))
	if scopes := fmt.Sprint(answer["scopes"]); scopes != "[orders:read]" {
		t.Errorf("the scopes of a narrowed key's token: %s", scopes)
	}

	second := s.must(s.root, "POST", "/v1/keys/"+id+"/rotate", `{"overlap":"1h"}`)["secret"].(string)
	expect("of a secret in its overlap", first, "VALID")
	newer := derive(second)
	third := s.must(s.root, "POST", "/v1/keys/"+id+"/rotate", "")["secret"].(string)
	expect("of a secret that was rotated away", newer, "EXPIRED")
	expect("of one before", first, "EXPIRED")

	last := derive(third)
	s.must(s.root, "PUT", "/v1/keyspaces/shop", `{"format":{"prefix":"sh_","alphabet":"base36","length":32,"shown":4}}`)
	expect("of a keyspace without tokens", last, "NOT_FOUND")
	s.must(s.root, "PUT", "/v1/keyspaces/shop", `{"tokens":{},"format":{"prefix":"sh_","alphabet":"base36","length":32,"shown":4}}`)
	expect("of a keyspace with them again", last, "VALID")
	s.must(s.root, "POST", "/v1/keys/"+id+"/revoke", "")
	expect("of a revoked key", last, "REVOKED")

	s.settle()
	uses := s.must(s.root, "GET", "/v1/keys/"+id+"/usage", "")["totals"].(map[string]any)
	if uses["REVOKED"] != 1.0 || uses["DISABLED"] != 1.0 {
		t.Errorf("the key's uses: %v", uses)
	}
}

// TestATokenEndsByTheClockAndIsNotAnotherInstallations signs as the service does, and as another.
// TestAGatewayTakesNoTokenOfAnotherService: a service could else use what it is given elsewhere.
func TestAGatewayTakesNoTokenOfAnotherService(t *testing.T) {
	s := start(t)
	_, secret := s.shop()
	derive := func(body string) string { return s.must(secret, "POST", "/v1/tokens", body)["token"].(string) }
	s.must(s.root, "PUT", "/v1/keyspaces/shop", `{"tokens":{"audience":"shop"},"format":{"prefix":"sh_","alphabet":"base36","length":32,"shown":4}}`)
	for body, want := range map[string]int{"": http.StatusOK, `{"audience":"shop"}`: http.StatusOK, `{"audience":"billing"}`: http.StatusUnauthorized} {
		if status, _, answer := s.do(derive(body), "GET", "/v1/authorize/shop", ""); status != want {
			t.Errorf("a token of %s: %d %s", body, status, answer)
		}
	}
	if status, _, answer := s.do(secret, "GET", "/v1/authorize/shop", ""); status != http.StatusOK {
		t.Errorf("the key itself: %d %s", status, answer)
	}
}

func TestATokenEndsByTheClockAndIsNotAnotherInstallations(t *testing.T) {
	tokens, err := token.NewIssuer([32]byte{1}, [32]byte{2}, "")
	if err != nil {
		t.Fatal(err)
	}
	s := start(t)
	id, secret := s.shop()
	k := s.must(s.root, "GET", "/v1/keys/"+id, "")
	made, err := time.Parse(time.RFC3339, k["created_at"].(string))
	if err != nil {
		t.Fatal(err)
	}
	claims := token.Claims{Subject: id, Org: k["org_id"].(string), Keyspace: "shop", Scope: "orders:read", ID: "j", Secret: made.UnixMilli(), IssuedAt: made.Unix(), Expiry: time.Now().Unix() + 60}
	sign := func(i *token.Issuer, change func(*token.Claims)) string {
		c := claims
		change(&c)
		text, err := i.Sign(c)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	other, err := token.NewIssuer([32]byte{3}, [32]byte{4}, "")
	if err != nil {
		t.Fatal(err)
	}
	good := sign(tokens, func(*token.Claims) {})
	for name, c := range map[string]struct{ text, want string }{
		"good":                            {good, "VALID"},
		"ended":                           {sign(tokens, func(c *token.Claims) { c.Expiry = time.Now().Unix() }), "EXPIRED"},
		"without an end":                  {sign(tokens, func(c *token.Claims) { c.Expiry = 0 }), "NOT_FOUND"},
		"of a secret that there is not":   {sign(tokens, func(c *token.Claims) { c.Secret++ }), "NOT_FOUND"},
		"of a keyspace that there is not": {sign(tokens, func(c *token.Claims) { c.Keyspace = "x" }), "NOT_FOUND"},
		"of another installation":         {sign(other, func(*token.Claims) {}), "NOT_FOUND"},
		"with a changed signature":        {good[:len(good)-4] + "AAAA", "NOT_FOUND"},
		"huge":                            {good[:3] + strings.Repeat("A", 10_000) + good[3:], "NOT_FOUND"},
	} {
		if got := s.shopOutcome(c.text); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
	if status, _, body := s.do(secret+"x", "POST", "/v1/tokens", ""); status != http.StatusUnauthorized {
		t.Errorf("an unknown key: %d %s", status, body)
	}
	if status, _, body := s.do(s.root, "POST", "/v1/tokens", ""); status != http.StatusUnauthorized {
		t.Errorf("a management key: %d %s", status, body)
	}
	if status, _, body := s.do("", "POST", "/v1/tokens", ""); status != http.StatusUnauthorized {
		t.Errorf("no key: %d %s", status, body)
	}
}
