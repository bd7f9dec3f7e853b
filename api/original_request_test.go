package api_test

import (
	"encoding/hex"
	"strings"
	"testing"
)

// The trail has what the key was used for: as a trusted gateway says, or as the request came.
func TestAUseRecordsTheClientsRequest(t *testing.T) {
	s := behindProxies(t)
	org := s.org("acme")
	s.keyspace("kept", `,"gateway":{"record_resource":true},"presentation":{"places":["bearer","query:k"]}`)
	s.keyspace("unkept", ``)
	const forwarded, original = "X-Forwarded-Uri: ", "X-Original-URI: "
	for i, c := range []struct {
		from, method, below string
		headers             []string
		want                string
	}{
		{"127.0.0.1", "GET", "", nil, ""},
		{"127.0.0.1", "POST", "/", nil, "POST /"},
		{"127.0.0.1", "PURGE", "/orders/7?page=2&a=?", nil, "PURGE /orders/7"},
		{"127.0.0.1", "GET", "//a//../%2e%2e/%2F", nil, "GET //a//../%2e%2e/%2F"},
		{"127.0.0.1", "GET", "/x", []string{forwarded + "/y?z=1"}, "GET /y"},
		{"127.0.0.1", "GET", "", []string{forwarded + "/y", "X-Forwarded-Method: DELETE"}, "DELETE /y"},
		{"127.0.0.1", "GET", "", []string{original + "/y", "X-Original-Method: DELETE"}, "DELETE /y"},
		{"127.0.0.1", "GET", "", []string{"X-Original-URL: https://api.example/y?z", "X-Original-Method: DELETE"}, "DELETE /y"},
		{"127.0.0.1", "GET", "", []string{"X-Original-URL: http://api.example?z=/"}, "GET /"},
		{"127.0.0.1", "GET", "", []string{"X-Original-URL: http://api.example"}, "GET /"},
		{"127.0.0.1", "GET", "", []string{forwarded + "/redirect?to=https://elsewhere/x"}, "GET /redirect"},
		{"127.0.0.1", "OPTIONS", "", []string{forwarded + "*"}, "OPTIONS *"},
		{"127.0.0.1", "GET", "/x", []string{forwarded, original}, "GET /x"},
		{"127.0.0.1", "GET", "", []string{forwarded + "/y", original + "/y?"}, "400"},
		{"127.0.0.1", "GET", "", []string{forwarded + "/y", original + "/y"}, "GET /y"},
		{"127.0.0.1", "GET", "", []string{forwarded + "/y", original + "/z"}, "400"},
		{"127.0.0.1", "GET", "", []string{forwarded + "/y", forwarded + "/y"}, "400"},
		{"127.0.0.1", "GET", "", []string{"X-Forwarded-Method: PUT", "X-Original-Method: GET"}, "400"},
		{stranger, "GET", "/x", []string{forwarded + "/y", forwarded + "/z", "X-Forwarded-Method: PUT"}, "GET /x"},
		{stranger, "GET", "", []string{forwarded + "/y"}, ""},
		{"127.0.0.1", "GET", "", []string{forwarded + "/é\t\"\x01"}, "400 Bad Request"},
		{"127.0.0.1", "GET", "", []string{forwarded + "/é \"\xff\u202e"}, "GET /%C3%A9%20\"%FF%E2%80%AE"},
		{"127.0.0.1", "GET", "", []string{forwarded + "/a\tb"}, "GET /a%09b"},
		{"127.0.0.1", "GET", "", []string{"X-Forwarded-Method: " + strings.Repeat("é", 40), forwarded + "/"}, strings.Repeat("%C3%A9", 3) + " /"},
		{"127.0.0.1", "GET", "/" + strings.Repeat("x", 600), nil, "GET /" + strings.Repeat("x", 512-5)},
		{"127.0.0.1", "GET", "/" + strings.Repeat("x", 505) + "%41%42", nil, "GET /" + strings.Repeat("x", 505)},
		{"127.0.0.1", "GET", "/$/x?k=$", nil, "GET /[secret]/x"},
		{"127.0.0.1", "GET", "/~/$%0d/x%20y", nil, "GET /[secret]/[secret]%0D/x%20y"}, // ~ is the key with a character percent-encoded
	} {
		id, secret := s.key("kept", org, `,"metadata":{"i":"`+string(rune('a'+i))+`"}`)
		c.below = strings.NewReplacer("$", secret, "~", "%"+hex.EncodeToString([]byte(secret[:1]))+secret[1:]).Replace(c.below)
		for j := range c.headers {
			c.headers[j] = strings.ReplaceAll(c.headers[j], "$", secret)
		}
		status, _, text := s.rawFrom(c.from, secret, c.method, "/v1/authorize/kept"+c.below, c.headers...)
		if strings.HasPrefix(c.want, "400") {
			if status[:3] != "400" {
				t.Errorf("%s %q: %s %s", c.below, c.headers, status, text)
			}
			continue
		}
		if got := s.resources(id); status != "200 OK" || len(got) != 1 || got[0] != c.want {
			t.Errorf("%s %s %s %q: %s %s; recorded %q, want %q", c.from, c.method, c.below, c.headers, status, text, got, c.want)
		}
	}
	id, secret := s.key("unkept", org, "")
	s.raw(secret, "GET", "/v1/authorize/unkept/x")
	if got := s.resources(id); len(got) != 1 || got[0] != "" {
		t.Errorf("a keyspace that does not say so records %q", got)
	}
}

// resources are those of a key's uses.
func (s *service) resources(id string) (all []string) {
	s.t.Helper()
	for _, item := range s.must(s.root, "GET", "/v1/events?type=key.used&key_id="+id, "")["items"].([]any) {
		resource, _ := item.(map[string]any)["data"].(map[string]any)["resource"].(string)
		all = append(all, resource)
	}
	return all
}
