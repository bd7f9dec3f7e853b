package api_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
)

// An allowed answer has each header that says whose the request is, once, be it empty: what a
// client sends under these names is overwritten.
func TestAnAllowedAnswerSaysWhoseTheRequestIs(t *testing.T) {
	s := start(t)
	org := s.org("acme")
	s.must(s.root, "PUT", "/v1/keyspaces/parts", `{"format":{"prefix":"parts_","environments":[{"name":"live","tag":"l_"},{"name":"test","tag":"t_"}],"alphabet":"hex","length":40}}`)
	full, fullSecret := s.create(s.root, `{"org_id":"`+org+`","keyspace":"parts","environment":"test","name":"ключ, 1%","owner":"u 1","scopes":["a:read","b:*"],"metadata":{"plan":"про 🔑\"\\","a":"<b>"}}`)
	bare, bareSecret := s.key("default", org, "")
	for _, c := range []struct {
		secret, keyspace string
		want             map[string]string
	}{
		{fullSecret, "parts", map[string]string{"Key-Id": full, "Owner": "u%201", "Scopes": "a:read b:*", "Keyspace": "parts", "Environment": "test", "Name": "%D0%BA%D0%BB%D1%8E%D1%87%2C%201%25"}},
		{bareSecret, "default", map[string]string{"Key-Id": bare, "Owner": "", "Scopes": "", "Keyspace": "default", "Environment": "", "Name": "n", "Metadata": "{}"}},
	} {
		c.want["Org-Id"], c.want["Outcome"] = org, "VALID"
		status, header, text := s.raw(c.secret, "GET", "/v1/authorize/"+c.keyspace, "X-Keytrail-Owner: admin", "X-Keytrail-Environment: live")
		for name, want := range c.want {
			if got := header["X-Keytrail-"+name]; len(got) != 1 || got[0] != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		if status != "200 OK" || text != "" || header.Get("Content-Length") != "0" {
			t.Errorf("%s %v %q", status, header, text)
		}
	}
	_, header, _ := s.raw(fullSecret, "GET", "/v1/authorize/parts")
	var metadata map[string]string
	if text := header.Get("X-Keytrail-Metadata"); json.Unmarshal([]byte(text), &metadata) != nil || metadata["plan"] != `про 🔑"\` || metadata["a"] != "<b>" || strings.ContainsFunc(text, func(r rune) bool { return r > '~' }) {
		t.Errorf("the metadata are %s", text)
	}
	if name, _ := url.PathUnescape(header.Get("X-Keytrail-Name")); name != "ключ, 1%" {
		t.Errorf("the name is %s", name)
	}
}

// Metadata that no proxy would take in a head are left out, and the empty header says so.
func TestLongMetadataAreLeftOut(t *testing.T) {
	s := start(t)
	org := s.org("acme")
	for _, c := range []struct {
		value string
		there bool
	}{{strings.Repeat("x", 450), true}, {strings.Repeat("ы", 450), false}} {
		var members []string
		for _, name := range []string{"a", "b", "c", "d", "e"} {
			members = append(members, `"`+name+`":"`+c.value+`"`)
		}
		_, secret := s.key("default", org, `,"metadata":{`+strings.Join(members, ",")+`}`)
		_, header, _ := s.do(secret, "GET", "/v1/authorize/default", "")
		if got := header["X-Keytrail-Metadata"]; len(got) != 1 || (got[0] != "") != c.there {
			t.Errorf("the metadata are %q", got)
		}
	}
}
