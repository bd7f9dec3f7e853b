package commands_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
)

const plainDefinition = `{"description":"d","format":{"prefix":"p_","environments":[{"name":"live","tag":"l"},{"name":"test","tag":"t"}],"alphabet":"hex","length":32,"checksum":"crc32","shown":4},
	"presentation":{"places":["bearer","header:X-Key"],"several":"first"},
	"scopes":[{"scope":"a:read","description":"d","category":"c"},{"scope":"a:write"}],
	"defaults":{"ttl":"1h","scopes":["a:read"],"rate_limits":[{"limit":1,"window":"1m"},{"limit":1,"window":"1h"}]},
	"bounds":{"max_ttl":"2h","min_overlap":"1h","max_overlap":"2h","rotate_after":"1h"},
	"issue":{"on":"membership","name":"n","scopes":["a:read"]},
	"tokens":{"max_ttl":"1m","audience":"a"},"sessions":{"roles":[{"role":"admin","scopes":[]},{"role":"member","scopes":["a:read"]}],
		"routes":[{"method":"POST","path":"/login","does":"log_in","fields":{"email":"mail"},"replies":[{"for":["INVALID_CREDENTIALS"],"status":401,"content_type":"application/json","headers":{"X-A":"b"},"body":"{}"}]}]},"gateway":{"demands":["scope"],"rate_limit_headers":["ratelimit"]},
	"requirements":[{"attribute":"a","of":"owner","reply":{"status":403,"headers":{"X-A":"b"},"body":"{}"}}],
	"replies":[{"for":["MISSING"],"status":401,"content_type":"application/json","headers":{"X-A":"b"},"body":"{}"}]}`

// A bound is one of a definition's: the value at a path of plainDefinition is taken, or
// refused with the name of a field and a text that has some words.
type bound struct {
	path    string
	value   any
	refused string // the field; "": it is taken
	text    string
}

func times(n int, f func(i int) any) (all []any) {
	for i := range n {
		all = append(all, f(i))
	}
	return all
}

func letters(n int) string { return strings.Repeat("x", n) }

// bounds are at least one for each field that can be out of one, at its bound and beyond.
func bounds() (all []bound) {
	add := func(path string, value any, refused, text string) {
		all = append(all, bound{path, value, refused, text})
	}
	good := func(path string, values ...any) {
		for _, v := range values {
			add(path, v, "", "")
		}
	}
	bad := func(path, text string, values ...any) {
		for _, v := range values {
			add(path, v, path, text)
		}
	}
	upTo := func(path string, most int, text string) {
		good(path, letters(most))
		bad(path, text, letters(most+1))
	}
	from := func(path string, least, most int) {
		good(path, least, most)
		bad(path, fmt.Sprintf("must be at least %d", least), least-1, -1<<40)
		bad(path, fmt.Sprintf("must be at most %d", most), most+1, 1<<40)
	}
	list := func(path string, most int, entry func(i int) any) {
		good(path, times(most, entry), []any{})
		bad(path, fmt.Sprintf("must have at most %d entries", most), times(most+1, entry))
	}
	word := func(format string) func(int) any { return func(i int) any { return fmt.Sprintf(format, i) } }
	const control, printable, name = "control characters", "must be printable ASCII", "must be letters, digits, '_', '-' and '.'"

	good("description", strings.Repeat("é", 500), "日本 😀")
	bad("description", "at most 500 characters", strings.Repeat("é", 501))
	bad("description", control, "a\nb", "a\u202eb", "a\x7f", "\u2066", "a\u2028b", "\u2029", "\x00")
	upTo("format.prefix", 24, "at most 24 characters")
	bad("format.prefix", name, "p ", "é", "p/", "p+", "\n")
	list("format.environments", 10, func(i int) any { return map[string]any{"name": fmt.Sprint("e", i), "tag": fmt.Sprint("t", i)} })
	bad("format.environments", "same name", []any{map[string]any{"name": "a", "tag": "b"}, map[string]any{"name": "a", "tag": "c"}})
	bad("format.environments", "same tag", []any{map[string]any{"name": "a", "tag": "b"}, map[string]any{"name": "c", "tag": "b"}})
	upTo("format.environments[1].name", 32, "at most 32 characters")
	bad("format.environments[1].name", "begin with a letter", "Live", "1", "a b", "é")
	bad("format.environments[1].name", "is required", "")
	upTo("format.environments[1].tag", 16, "at most 16 characters")
	bad("format.environments[1].tag", name, "a b", "é")
	bad("format.environments[1].tag", "is required", "")
	good("format.alphabet", "hex", "base32", "base36", "base62")
	bad("format.alphabet", "one of hex, base32, base36, base62", "HEX", "base64")
	bad("format.alphabet", "is required", "")
	good("format.length", 32, 128)
	bad("format.length", "take at least 32", 31, 1)
	bad("format.length", "must be at least 1", 0, -1)
	bad("format.length", "must be at most 128", 129)
	good("format.checksum", "", "crc32")
	bad("format.checksum", "one of crc32", "crc16")
	from("format.shown", 0, 8)

	list("presentation.places", 10, word("header:X-Key-%d"))
	bad("presentation.places", "the same twice", []any{"bearer", "bearer"})
	good("presentation.places[1]", "basic", "header:X-API-Key", "header:"+letters(64), "query:api_key", "query:"+letters(64), "query:a.b-c")
	bad("presentation.places[1]", "bearer, basic, header:NAME or query:NAME", "", "Bearer", "cookie:a", "header:", "header:X Key", "header:X_Key", "header:"+letters(65), "query:", "query:a&b", "query:"+letters(65), "header:X-Ké",
		"header:Host", "header:AUTHORIZATION", "header:cookie", "header:Connection", "header:Transfer-Encoding", "header:Content-Length", "header:X-Forwarded-For", "header:x-keytrail-key-id", "header:Proxy-Authorization", "header:X-Request-ID", "header:X-Original-URI")
	add("presentation.places", []any{"bearer", "header:X-Key", "header:x-key"}, "presentation.places[2]", "of another place")
	good("presentation.places", []any{"query:a", "query:A"})
	good("presentation.several", "", "refuse", "first")
	bad("presentation.several", "one of refuse, first", "last")

	good("scopes", times(500, word("a:x%d"))[:0])
	add("scopes", times(500, func(i int) any {
		return map[string]any{"scope": map[bool]string{true: "a:read", false: fmt.Sprint("a:x", i)}[i == 0]}
	}), "", "")
	bad("scopes", "at most 500 entries", times(501, func(i int) any { return map[string]any{"scope": fmt.Sprint("a:x", i)} }))
	bad("scopes", "same scope", []any{map[string]any{"scope": "a:read"}, map[string]any{"scope": "a:read"}})
	good("scopes[1].scope", "b:*", "*", "a:"+letters(98))
	bad("scopes[1].scope", "resource:action", "a", "a b:c", "a:"+letters(99), "é:a")
	bad("scopes[1].scope", "is required", "")
	upTo("scopes[1].description", 500, "at most 500 characters")
	bad("scopes[1].description", control, "a\nb")
	upTo("scopes[1].category", 100, "at most 100 characters")
	bad("scopes[1].category", control, "a\tb")

	good("defaults.ttl", "0s", "1ms", "2h")
	bad("defaults.ttl", "must be from 1ms to 87600h", "-1h", "1µs", "87601h")
	bad("defaults.ttl", "at most bounds.max_ttl", "2h1s")
	bad("defaults.scopes", "the same twice", []any{"a:read", "a:read"})
	bad("defaults.scopes", "at most 100 entries", times(101, word("a:x%d")))
	bad("defaults.scopes[0]", "resource:action", "a", "")
	bad("defaults.scopes[0]", "not in the catalogue", "b:read")
	good("defaults.scopes[0]", "a:*", "*")
	list("defaults.rate_limits", 5, func(i int) any { return map[string]any{"limit": 1, "window": fmt.Sprintf("%ds", i+1)} })
	bad("defaults.rate_limits", "each window can have one limit", []any{map[string]any{"limit": 1, "window": "1m"}, map[string]any{"limit": 2, "window": "60s"}})
	from("defaults.rate_limits[1].limit", 1, 1_000_000_000)
	good("defaults.rate_limits[1].window", "1s", "720h")
	bad("defaults.rate_limits[1].window", "whole seconds from 1s to 720h", "0s", "-1m", "500ms", "1500ms", "721h")

	good("bounds.max_ttl", "0s", "1h", "87600h")
	bad("bounds.max_ttl", "must be from 1ms to 87600h", "-1h", "87601h")
	from("bounds.keys_per_owner", 0, 1000)
	from("bounds.keys_per_organization", 0, 100_000)
	add("bounds", map[string]any{"one_key_per_owner": true, "keys_per_owner": 2}, "bounds.keys_per_owner", "left out beside one_key_per_owner")
	good("bounds.min_overlap", "0s", "2h")
	bad("bounds.min_overlap", "must be from 0s to 2160h", "-1s", "2161h")
	bad("bounds.min_overlap", "at most bounds.max_overlap", "3h")
	good("bounds.max_overlap", "1h", "2160h")
	bad("bounds.max_overlap", "must be from 0s to 2160h", "-1s", "2161h")
	good("bounds.rotate_after", "0s", "87600h")
	bad("bounds.rotate_after", "must be from 1ms to 87600h", "-1h", "87601h")
	from("notices.expiring_days", 0, 365)
	from("notices.idle_days", 0, 3650)
	bad("issue.on", "is required", "")
	bad("issue.on", "one of user, membership", "sign-up")
	bad("issue.organization", "left out on membership", "org_0123456789abcdefghjkmnpqrs")
	bad("issue.organization", "at most 30 characters", letters(31))
	for _, none := range []string{"", "acme", string(domain.Installation), string(domain.NewOrgID("is not there"))} {
		add("issue", map[string]any{"on": "user", "organization": none}, "issue.organization", "organization")
	}
	good("issue.environment", "", "live")
	bad("issue.environment", "an environment of the format", "prod")
	bad("issue.environment", "at most 32 characters", letters(33))
	upTo("issue.name", 200, "at most 200 characters")
	bad("issue.name", control, "a\nb")
	good("issue.scopes", []any{}, []any{"a:*"})
	bad("issue.scopes", "the same twice", []any{"a:read", "a:read"})
	bad("issue.scopes", "at most 100 entries", times(101, word("a:x%d")))
	bad("issue.scopes[0]", "resource:action", "a", "")
	bad("issue.scopes[0]", "not in the catalogue", "b:read")
	good("tokens.max_ttl", "0s", "1s", "24h")
	bad("tokens.max_ttl", "must be from 1s to 24h", "-1s", "1ms", "25h")
	upTo("tokens.audience", 200, "at most 200 characters")
	bad("tokens.audience", control, "a\nb")
	list("sessions.roles", 50, func(i int) any { return map[string]any{"role": fmt.Sprint("r", i)} })
	bad("sessions.roles", "same role", []any{map[string]any{"role": "member"}, map[string]any{"role": "member"}})
	upTo("sessions.roles[1].role", 64, "at most 64 characters")
	bad("sessions.roles[1].role", "begin with a letter", "Member", "1", "a b", "é")
	bad("sessions.roles[1].role", "is required", "")
	bad("sessions.roles[1].scopes", "the same twice", []any{"a:read", "a:read"})
	bad("sessions.roles[1].scopes", "at most 100 entries", times(101, word("a:x%d")))
	good("sessions.roles[1].scopes[0]", "a:*", "*")
	bad("sessions.roles[1].scopes[0]", "resource:action", "a", "")
	bad("sessions.roles[1].scopes[0]", "not in the catalogue", "b:read")
	list("sessions.routes", 20, func(i int) any {
		return map[string]any{"method": "POST", "path": fmt.Sprint("/r", i), "does": "sign_out"}
	})
	add("sessions.routes", []any{map[string]any{"method": "POST", "path": "/a", "does": "sign_out"}, map[string]any{"method": "POST", "path": "/a", "does": "log_in"}}, "sessions.routes[1]", "of another one")
	route := "sessions.routes[0]"
	good(route+".method", "POST", "PUT", "DELETE")
	bad(route+".method", "one of GET, POST, PUT, DELETE", "", "post", "PATCH")
	bad(route+".method", "must not be GET", "GET")
	bad(route+".path", "is required", "")
	good(route+".path", "/"+letters(199), "/api/auth/switch-tenant")
	bad(route+".path", "at most 200 characters", "/"+letters(200))
	bad(route+".path", "must be a path", "login", "/", "/a/", "//a", "/a/../b", "/a b", "/a?b", "/%2e", "/é")
	good(route+".does", "log_in", "switch", "sign_out", "principal")
	bad(route+".does", "one of log_in, switch, sign_out, principal", "", "login")
	good(route+".fields", map[string]any{"email": "user", "password": "pass", "org_id": "tenantId"}, map[string]any{})
	add(route+".fields", map[string]any{"name": "n"}, route+".fields.name", "one of email, password, org_id")
	add(route+".fields", map[string]any{"email": "a b"}, route+".fields.email", "letters, digits")
	bad(route+".fields", "at most 3 entries", map[string]any{"a": "b", "c": "d", "e": "f", "g": "h"})
	bad(route+".replies", "at most 20 entries", times(21, func(int) any { return map[string]any{"for": []any{"OK"}, "status": 200} }))
	bad(route+".replies[0].for", "is required", nil)
	bad(route+".replies[0].for", "at least 1 entries", []any{})
	bad(route+".replies[0].for", "the same twice", []any{"OK", "OK"})
	bad(route+".replies[0].for", "at most 10 entries", times(11, word("X%d")))
	bad(route+".replies[0].for[0]", "must be one of OK", "", "VALID", "ok")
	bad(route+".replies[0].status", "from 400 to 599", 200, 399)
	bad(route+".replies[0].status", "must be at least 200", 199, 0, -1)
	bad(route+".replies[0].status", "must be at most 599", 600)
	bad(route+".replies[0].content_type", "must be a media type", "json")
	bad(route+".replies[0].content_type", "at most 100 characters", "text/"+letters(96))
	bad(route+".replies[0].headers", "at most 10 entries", headers(11))
	add(route+".replies[0].headers", map[string]any{"Set-Cookie": "b"}, route+".replies[0].headers.Set-Cookie", "does not set itself")
	bad(route+".replies[0].body", "at most 4096 characters", `"`+letters(4095)+`"`)
	bad(route+".replies[0].body", control, "{}\x00")
	bad(route+".replies[0].body", "not valid JSON", "no", `{"a": {{.Token}}}`)
	bad(route+".replies[0].body", "one of the fields Case, Status, Token", "{{.KeyID}}", "{{range .}}{{end}}")
	good(route+".replies[0].body", `{"token": "{{.Token}}", "name": "{{.Name}}", "org": {{if .OrgID}}"{{.OrgID}}"{{else}}null{{end}}}`)
	good("gateway.demands", []any{"cost", "organization", "scope"}, []any{})
	bad("gateway.demands", "the same twice", []any{"cost", "cost"})
	bad("gateway.demands", "at most 3 entries", []any{"a", "b", "c", "d"})
	bad("gateway.demands[0]", "one of scope, organization, cost", "", "owner")
	bad("gateway.rate_limit_headers", "at most 2 entries", []any{"a", "b", "c"})
	bad("gateway.rate_limit_headers", "the same twice", []any{"ratelimit", "ratelimit"})
	bad("gateway.rate_limit_headers[0]", "one of x-ratelimit, ratelimit", "X-RateLimit")

	list("requirements", 20, func(i int) any { return map[string]any{"attribute": fmt.Sprint("a", i)} })
	upTo("requirements[0].attribute", 64, "at most 64 characters")
	bad("requirements[0].attribute", "letters, digits", "a b", "é")
	bad("requirements[0].attribute", "is required", "")
	good("requirements[0].of", "", "owner", "organization")
	bad("requirements[0].of", "one of owner, organization", "user")
	bad("replies", "at most 20 entries", times(21, func(int) any { return map[string]any{"for": []any{"MISSING"}, "status": 401} }))
	bad("replies[0].for", "is required", nil)
	bad("replies[0].for", "at least 1 entries", []any{})
	bad("replies[0].for", "the same twice", []any{"MISSING", "MISSING"})
	bad("replies[0].for", "at most 20 entries", times(21, word("X%d")))
	bad("replies[0].for[0]", "must be one of [MISSING MALFORMED UNAVAILABLE NOT_FOUND", "", "VALID", "missing", "TEAPOT")
	good("replies[0].for", []any{"MISSING", "MALFORMED", "NOT_FOUND"})
	for _, reply := range []string{"requirements[0].reply", "replies[0]"} {
		good(reply+".status", 400, 499)
		bad(reply+".status", "must be at least 400", 399, 200, 0, -1)
		bad(reply+".status", "must be at most 599", 600)
		bad(reply+".status", "must be at most 499", 500, 503)
		good(reply+".content_type", "", "application/problem+json", "text/plain; charset=utf-8", "text/html")
		bad(reply+".content_type", "must be a media type", "json", "text/", "a b/c", "text/plain\r\nX: y", "text/plain; a=b; a=c", "é/a")
		bad(reply+".content_type", "at most 100 characters", "text/"+letters(96))
		bad(reply+".headers", "at most 10 entries", headers(11))
		good(reply+".headers", headers(10), map[string]any{letters(64): letters(500)}, map[string]any{"WWW-Authenticate": `Basic realm="x"`}, map[string]any{"Cache-Control": ""})
		add(reply+".headers", map[string]any{"X-A": letters(501)}, reply+".headers.X-A", "at most 500 characters")
		add(reply+".headers", map[string]any{"X-A": "a\r\nSet-Cookie: b"}, reply+".headers.X-A", printable)
		add(reply+".headers", map[string]any{"X-A": " a"}, reply+".headers.X-A", printable)
		add(reply+".headers", map[string]any{"X-A": "é"}, reply+".headers.X-A", printable)
		bad(reply+".headers", "a header", map[string]any{"X A": "b"}, map[string]any{"": "b"}, map[string]any{"X:A": "b"}, map[string]any{"X.A[0]": "b"}, map[string]any{"é": "b"})
		bad(reply+".headers", "at most 64 characters", map[string]any{letters(65): "b"})
		for _, own := range []string{"Content-Length", "content-type", "Set-Cookie", "X-Keytrail-Key-Id", "Connection", "Transfer-Encoding", "Retry-After", "X-RateLimit-Limit", "RateLimit", "X-Request-ID", "X-Accel-Redirect"} {
			add(reply+".headers", map[string]any{own: "b"}, reply+".headers."+own, "does not set itself")
		}
		add(reply+".headers", map[string]any{"X-A": "b", "x-a": "b"}, reply+".headers", "X-A and x-a are one header")
		good(reply+".body", "", "{\r\n\t\"a\": \"é 😀\"\n}", `"`+letters(4094)+`"`)
		bad(reply+".body", "at most 4096 characters", `"`+letters(4095)+`"`)
		bad(reply+".body", control, "{}\x00", "\x1b[2J", "\u0085")
		bad(reply+".body", "not valid JSON", "no", "{")
	}
	return all
}

func headers(n int) map[string]any {
	all := map[string]any{}
	for i := range n {
		all[fmt.Sprint("X-", i)] = "b"
	}
	return all
}

// set puts a value at a path of a JSON value.
func set(at any, path string, value any) {
	steps := regexp.MustCompile(`[^.[\]]+`).FindAllString(path, -1)
	for i, s := range steps {
		last := i == len(steps)-1
		switch v := at.(type) {
		case map[string]any:
			if last {
				v[s] = value
			} else if v[s] == nil {
				v[s] = map[string]any{}
			}
			at = v[s]
		case []any:
			n, _ := strconv.Atoi(s)
			if last {
				v[n] = value
			}
			at = v[n]
		}
	}
}

func TestEveryFieldOfADefinitionHasItsBound(t *testing.T) {
	f := setUp(t)
	refused := map[string]bool{}
	for _, b := range bounds() {
		var changed any
		if err := json.Unmarshal([]byte(plainDefinition), &changed); err != nil {
			t.Fatal(err)
		}
		set(changed, b.path, b.value)
		text, err := json.Marshal(changed)
		if err != nil {
			t.Fatal(err)
		}
		var d domain.KeyspaceDefinition
		if err := json.Unmarshal(text, &d); err != nil {
			t.Fatal(b.path, err)
		}
		_, _, err = f.PlanKeyspace(t.Context(), commands.KeyspaceDefinition{Request: by(domain.System), Name: "acme", KeyspaceDefinition: d})
		var refusal *domain.Error
		switch {
		case b.refused == "" && err != nil:
			t.Errorf("%s of %.80q is refused: %v", b.path, b.value, err)
		case b.refused != "" && (!errors.As(err, &refusal) || refusal.Kind != domain.Invalid || refusal.Field != b.refused || !strings.Contains(refusal.Text, b.text)):
			t.Errorf("%s of %.80q: %v, want %s: … %s", b.path, b.value, err, b.refused, b.text)
		}
		refused[indexes.ReplaceAllString(b.refused, "[]")] = true
	}
	for _, field := range fieldsOf(reflect.TypeFor[domain.KeyspaceDefinition](), "") {
		if !refused[field] && !slices.Contains([]string{"presentation", "defaults", "bounds", "notices", "issue", "tokens", "sessions", "gateway", "format", "requirements[].reply"}, field) {
			t.Errorf("no value of %s is refused", field)
		}
	}
}

var indexes = regexp.MustCompile(`\[\d+\]`)

// fieldsOf are the paths of all fields but those that are true or false.
func fieldsOf(t reflect.Type, path string) (all []string) {
	switch t.Kind() {
	case reflect.Bool:
		return nil
	case reflect.Pointer:
		return fieldsOf(t.Elem(), path)
	case reflect.Slice:
		all = append(all, path)
		return append(all, fieldsOf(t.Elem(), path+"[]")...)
	case reflect.Struct:
		for _, f := range reflect.VisibleFields(t) {
			if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
				all = append(all, fieldsOf(f.Type, strings.TrimPrefix(path+"."+name, "."))...)
			}
		}
		return all
	}
	return []string{path}
}

func TestTheNameOfAKeyspaceHasItsBound(t *testing.T) {
	f := setUp(t)
	for name, good := range map[string]bool{"a": true, "acme_2-live": true, letters(40): true, letters(41): false, "": false, "Acme": false, "1a": false, "a b": false, "a.b": false, "é": false, "a\n": false, "a/b": false} {
		_, _, err := f.PlanKeyspace(t.Context(), commands.KeyspaceDefinition{Request: by(domain.System), Name: name, KeyspaceDefinition: domain.KeyspaceDefinition{Format: domain.Format{Alphabet: domain.Hex, Length: 32}}})
		var refusal *domain.Error
		if good && err != nil || !good && (!errors.As(err, &refusal) || refusal.Field != "name") {
			t.Errorf("%q: %v", name, err)
		}
	}
}
