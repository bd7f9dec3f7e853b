package api_test

import (
	"net/http"
	"strings"
	"testing"
)

// TestOnlyItsOwnOrganizationSeesASecret asks with the keys of other tenants, and with too few scopes.
func TestOnlyItsOwnOrganizationSeesASecret(t *testing.T) {
	s := start(t)
	s.must(s.root, "POST", "/v1/keyspaces", `{"name":"pilot","recoverable":true,"format":{"prefix":"pk_","alphabet":"base62","length":32,"shown":4}}`)
	ours, theirs := s.org("ours"), s.org("theirs")
	id, secret := s.create(s.root, `{"org_id":"`+ours+`","keyspace":"pilot","name":"k"}`)
	management := func(org, scopes string) string {
		_, key := s.create(s.root, `{"org_id":"`+org+`","keyspace":"keytrail","name":"m","scopes":[`+scopes+`]}`)
		return key
	}
	for name, c := range map[string]struct {
		key    string
		status int
		code   string
	}{
		"its own organization's":     {management(ours, `"keys:reveal"`), http.StatusOK, secret},
		"another organization's":     {management(theirs, `"keys:reveal"`), http.StatusNotFound, "key_not_found"},
		"one that holds everything":  {management(ours, `"*"`), http.StatusForbidden, "scope_missing"},
		"one that may read keys":     {management(ours, `"keys:read","keys:write"`), http.StatusForbidden, "scope_missing"},
		"the key itself":             {secret, http.StatusUnauthorized, "invalid_credentials"},
		"the installation's, listed": {management("", `"keys:reveal"`), http.StatusOK, secret},
	} {
		status, header, body := s.do(c.key, "POST", "/v1/keys/"+id+"/reveal", "")
		if status != c.status || !strings.Contains(body, c.code) {
			t.Errorf("%s: %d %s", name, status, body)
		}
		if status == http.StatusOK && header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %v", name, header)
		}
		if status != http.StatusOK && strings.Contains(body, secret) {
			t.Errorf("%s: the refusal has the secret", name)
		}
	}
	root := s.must(s.root, "GET", "/v1/principal", "")["id"].(string)
	reveal := management("", `"keys:reveal","*"`)
	if status, _, body := s.do(reveal, "POST", "/v1/keys/"+root+"/reveal", ""); status != http.StatusConflict || !strings.Contains(body, "not_recoverable") {
		t.Errorf("the root key: %d %s", status, body)
	}
}
