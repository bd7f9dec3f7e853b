package api_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/keytrail/keytrail/domain"
)

// A model is what a plain program would remember of two organizations' keys.
type model struct {
	*service
	t    *rapid.T
	orgs [2]string
	keys map[string]*modelKey
	made int
}

type modelKey struct {
	org, status, name string
	secrets           []string // all that are good as long as the key is
	scope             string
	revision          float64
}

// TestRandomHistoriesAgreeWithAPlainModel drives the real service with random sequences of
// requests, and compares each answer with the model's.
func TestRandomHistoriesAgreeWithAPlainModel(t *testing.T) {
	s := start(t)
	runs := 0
	rapid.Check(t, func(t *rapid.T) {
		runs++
		m := &model{service: s, t: t, keys: map[string]*modelKey{}}
		for i := range m.orgs {
			m.orgs[i] = s.org(fmt.Sprint("org", runs, i))
		}
		m.createOne(t) // the other steps pick a key
		t.Repeat(map[string]func(*rapid.T){
			"create": m.createOne, "import": m.importOne, "rename": m.rename, "rotate": m.rotate, "revoke": m.revoke, "revoke many": m.revokeMany,
			"disable": func(*rapid.T) { m.turn("disable", "active", "disabled") }, "enable": func(*rapid.T) { m.turn("enable", "disabled", "active") },
			"": func(*rapid.T) {}, "verify": m.verifyOne, "list": m.list,
		})
	})
}

func (m *model) pick() (string, *modelKey) {
	id := rapid.SampledFrom(slices.Sorted(maps.Keys(m.keys))).Draw(m.t, "key")
	return id, m.keys[id]
}

// ask makes a request that must be answered with the status, and gives the answer.
func (m *model) ask(want int, method, path, body string, headers ...string) (a map[string]any) {
	status, _, text := m.do(m.root, method, path, body, headers...)
	if status != want || json.Unmarshal([]byte(text), &a) != nil {
		m.t.Fatalf("%s %s %s is answered %d %s, want %d", method, path, body, status, text, want)
	}
	return a
}

func (m *model) settings() (org, name, scope string) {
	m.made++
	return rapid.SampledFrom(m.orgs[:]).Draw(m.t, "org"), fmt.Sprint("n", m.made), rapid.SampledFrom([]string{"a:read", "a:*", "b:read"}).Draw(m.t, "scope")
}

func (m *model) createOne(*rapid.T) {
	org, name, scope := m.settings()
	body := fmt.Sprintf(`{"org_id":%q,"name":%q,"scopes":[%q]}`, org, name, scope)
	again := fmt.Sprint("create ", org, name)
	a := m.ask(201, "POST", "/v1/keys", body, "Idempotency-Key", again)
	id := m.keep(a, org, name, scope)
	if b := m.ask(201, "POST", "/v1/keys", body, "Idempotency-Key", again); b["key"].(map[string]any)["id"] != id || b["secret"] != "" && b["secret"] != nil {
		m.t.Fatalf("repeated: %v", b["key"])
	}
}

func (m *model) keep(a map[string]any, org, name, scope string) string {
	k := a["key"].(map[string]any)
	m.keys[k["id"].(string)] = &modelKey{org: org, status: "active", name: name, scope: scope, secrets: []string{a["secret"].(string)}, revision: k["revision"].(float64)}
	return k["id"].(string)
}

func (m *model) importOne(*rapid.T) {
	org, name, scope := m.settings()
	secret := "elsewhere-" + org + name
	digest := digestOf(secret)
	for _, status := range []string{"imported", "exists"} {
		a := m.ask(200, "POST", "/v1/keys/import", fmt.Sprintf(`{"org_id":%q,"name":%q,"scopes":[%q],"digest":%q}`, org, name, scope, digest))
		r := a["results"].([]any)[0].(map[string]any)
		if r["status"] != status {
			m.t.Fatalf("import: %v, want %s", r, status)
		}
		id := r["key_id"].(string)
		m.keys[id] = &modelKey{org: org, status: "active", name: name, scope: scope, secrets: []string{secret}}
		m.keys[id].revision = m.ask(200, "GET", "/v1/keys/"+id, "")["revision"].(float64)
	}
}

func (m *model) rename(*rapid.T) {
	id, k := m.pick()
	m.made++
	name, want := fmt.Sprint("renamed", m.made), 200
	stale := rapid.Bool().Draw(m.t, "stale")
	match := fmt.Sprintf(`"%d"`, int(k.revision))
	switch {
	case k.status == "revoked":
		want = 409
	case stale:
		match, want = `"1"`, 412
	}
	a := m.ask(want, "PATCH", "/v1/keys/"+id, fmt.Sprintf(`{"name":%q}`, name), "If-Match", match)
	if want == 200 {
		k.name = name
		m.moved(k, a)
	}
}

// moved checks that the revision grew, and keeps it.
func (m *model) moved(k *modelKey, a map[string]any) {
	if r := a["revision"].(float64); r <= k.revision {
		m.t.Fatalf("revision %v after %v", r, k.revision)
	} else {
		k.revision = r
	}
}

func (m *model) rotate(*rapid.T) {
	id, k := m.pick()
	if k.status == "revoked" {
		m.ask(409, "POST", "/v1/keys/"+id+"/rotate", `{}`)
		return
	}
	overlap := rapid.Bool().Draw(m.t, "overlap")
	a := m.ask(200, "POST", "/v1/keys/"+id+"/rotate", map[bool]string{true: `{"overlap":"24h"}`, false: `{}`}[overlap])
	if !overlap {
		k.secrets = k.secrets[:0]
	}
	k.secrets = append(k.secrets, a["secret"].(string))
	k.secrets = k.secrets[max(0, len(k.secrets)-10):]
	m.moved(k, a["key"].(map[string]any))
}

func (m *model) revoke(*rapid.T) {
	id, k := m.pick()
	a := m.ask(200, "POST", "/v1/keys/"+id+"/revoke", `{"reason":"superseded"}`)
	if k.status != "revoked" {
		m.moved(k, a)
	}
	k.status = "revoked"
	if a["status"] != "revoked" || a["revision"] != k.revision {
		m.t.Fatalf("revoked: %v", a)
	}
}

func (m *model) revokeMany(*rapid.T) {
	org := rapid.SampledFrom(m.orgs[:]).Draw(m.t, "org")
	want, already := 0.0, 0.0
	for _, k := range m.keys {
		if k.org == org && k.scope == "b:read" {
			if k.status == "revoked" {
				already++
			} else {
				want++
			}
			k.status = "revoked"
		}
	}
	a := m.ask(200, "POST", "/v1/keys/revoke", fmt.Sprintf(`{"filter":{"org_id":%q,"scope":"b:read"}}`, org))
	if a["revoked"] != want || a["already_revoked"] != already {
		m.t.Fatalf("revoke many: %v, want %v and %v", a, want, already)
	}
	for id, k := range m.keys {
		k.revision = m.ask(200, "GET", "/v1/keys/"+id, "")["revision"].(float64)
	}
}

// turn disables or enables. What is already so answers so, and changes nothing.
func (m *model) turn(verb, from, to string) {
	id, k := m.pick()
	if k.status == "revoked" {
		m.ask(409, "POST", "/v1/keys/"+id+"/"+verb, "")
		return
	}
	a := m.ask(200, "POST", "/v1/keys/"+id+"/"+verb, "")
	if k.status == from {
		m.moved(k, a)
	}
	k.status = to
	if a["status"] != to || a["revision"] != k.revision {
		m.t.Fatalf("%s: %v", verb, a)
	}
}

func (m *model) verifyOne(*rapid.T) {
	id, k := m.pick()
	scope := rapid.SampledFrom([]string{"a:read", "a:write", "b:read"}).Draw(m.t, "scope needed")
	secret := rapid.SampledFrom(k.secrets).Draw(m.t, "secret")
	want := "VALID"
	switch {
	case k.status != "active":
		want = map[string]string{"revoked": "REVOKED", "disabled": "DISABLED"}[k.status]
	case k.scope != scope && (k.scope != "a:*" || scope == "b:read"):
		want = "INSUFFICIENT_SCOPE"
	}
	a := m.ask(200, "POST", "/v1/verify", fmt.Sprintf(`{"key":%q,"scopes":[%q]}`, secret, scope))
	if a["code"] != want || a["key_id"] != id || a["name"] != k.name {
		m.t.Fatalf("verify %s: %v, want %s", id, a, want)
	}
}

// list compares a listing, page by page, with the model.
func (m *model) list(*rapid.T) {
	org := rapid.SampledFrom(m.orgs[:]).Draw(m.t, "org")
	status := rapid.SampledFrom([]string{"active", "disabled", "revoked"}).Draw(m.t, "status")
	var want, got []string
	for _, k := range m.keys {
		if k.org == org && k.status == status {
			want = append(want, k.name)
		}
	}
	for cursor, more := "", true; more; {
		a := m.ask(200, "GET", "/v1/keys?sort=name&limit=2&org_id="+org+"&status="+status+"&cursor="+cursor, "")
		for _, i := range a["items"].([]any) {
			got = append(got, i.(map[string]any)["name"].(string))
		}
		cursor, more = a["next_cursor"].(string)
	}
	if slices.Sort(want); !slices.Equal(got, want) {
		m.t.Fatalf("%s keys of %s: %v, want %v", status, org, got, want)
	}
}

func digestOf(secret string) string {
	d, _ := domain.NewSecret(secret).Digest().MarshalText()
	return string(d)
}
