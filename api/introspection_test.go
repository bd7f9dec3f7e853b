package api_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"testing"
)

func TestIntrospectionTellsOnlyOfWhatIsActive(t *testing.T) {
	s := start(t)
	id, secret := s.shop()
	derived := s.must(secret, "POST", "/v1/tokens", `{"scopes":["orders:read"],"audience":"till"}`)
	introspect := func(as, form string) (int, string) {
		t.Helper()
		status, _, body := s.do(as, "POST", "/v1/introspect", form, "Content-Type", "application/x-www-form-urlencoded")
		return status, body
	}
	active := func(text string) map[string]any {
		t.Helper()
		status, body := introspect(s.root, "token_type_hint=access_token&token="+url.QueryEscape(text))
		var m map[string]any
		if err := json.Unmarshal([]byte(body), &m); err != nil || status != http.StatusOK || m["active"] != true {
			t.Fatalf("%d %s", status, body)
		}
		return m
	}
	if m := active(secret); m["client_id"] != id || m["scope"] != "orders:*" || m["token_type"] != "Bearer" || m["iat"].(float64) == 0 || m["exp"] != nil || m["keyspace"] != "shop" {
		t.Errorf("a key: %v", m)
	}
	if m := active(derived["token"].(string)); m["client_id"] != id || m["scope"] != "orders:read" || m["jti"] != derived["token_id"] || m["aud"] != "till" || m["exp"].(float64) == 0 {
		t.Errorf("a token: %v", m)
	}
	s.must(s.root, "POST", "/v1/keys/"+id+"/revoke", "")
	for name, text := range map[string]string{"of a revoked key": secret, "a token of it": derived["token"].(string), "unknown": "x", "empty": "", "a management key": s.root} {
		if status, body := introspect(s.root, "token="+url.QueryEscape(text)); status != http.StatusOK || body != `{"active":false}` {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	_, weak := s.create(s.root, `{"keyspace":"keytrail","name":"weak","scopes":["keys:read"]}`)
	for name, c := range map[string]struct {
		as, form string
		status   int
	}{
		"without a key":     {"", "token=x", http.StatusUnauthorized},
		"without the scope": {weak, "token=x", http.StatusForbidden},
		"no token":          {s.root, "tokn=x", http.StatusBadRequest},
		"two tokens":        {s.root, "token=x&token=y", http.StatusBadRequest},
	} {
		if status, body := introspect(c.as, c.form); status != c.status {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	if status, _, body := s.do(s.root, "POST", "/v1/introspect", `{"token":"x"}`); status != http.StatusUnsupportedMediaType {
		t.Errorf("JSON: %d %s", status, body)
	}
	s.settle()
	if uses := s.must(s.root, "GET", "/v1/keys/"+id+"/usage", "")["totals"].(map[string]any); uses["REVOKED"] != 2.0 || uses["VALID"] != 3.0 {
		t.Errorf("recorded: %v", uses)
	}
}
