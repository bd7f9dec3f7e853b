package main

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/keytrail/keytrail/internal/documents"
)

const pingd = `# Keys of a bot.
kind: keyspace
name: pingd
format: {prefix: pingd-, alphabet: hex, length: 32, shown: 4}
scopes:
  - {scope: "a:read", description: Read}
replies:
  - for: [MISSING]
    status: 401
    body: '{"message": "Unauthorized"}'
`

func TestAKeyspacesLifeOnTheCommandLine(t *testing.T) {
	r := launch(t, t.TempDir())
	apply := func(text string, args ...string) told {
		t.Helper()
		return r.command(t, text, append([]string{"keyspaces", "apply", "-f", "-"}, args...)...)
	}
	is := func(got told, out string) {
		t.Helper()
		if expect(t, got, exitOK); got.out != out {
			t.Errorf("%q, want %q", got.out, out)
		}
	}
	changed := strings.NewReplacer("length: 32", "length: 40", "a:read", "a:look", "status: 401", "status: 403").Replace(pingd)
	is(apply(pingd, "--dry-run"), "pingd would be created\n")
	expect(t, r.command(t, "", "keyspaces", "show", "pingd"), exitRefused, "keyspace_not_found")
	is(apply(pingd), "pingd created\n")
	is(apply(pingd), "pingd unchanged\n")
	const changes = "format.length 32 → 40, replies[MISSING].status 401 → 403, scopes[a:look] added, scopes[a:read] removed\n"
	is(apply(changed, "--dry-run"), "pingd would be updated: "+changes)
	is(apply(changed), "pingd updated: "+changes)
	is(apply(`{"kind":"keyspace","name":"pong","format":{"prefix":"pong_","alphabet":"base62","length":32,"environments":[{"name":"live","tag":"l_"}]},"description":"\ud83d\ude00"}`+"\n"), "pong created\n")

	list := r.command(t, "", "keyspaces", "list")
	expect(t, list, exitOK, "pingd- + 40 hex", "pong_(l_) + 32 base62", "😀", "built in")
	expect(t, r.command(t, "", "keyspaces", "show", "pingd"), exitOK, "# formerly pingd- + 32 hex", "kind: keyspace\nname: pingd\n")
	expect(t, r.command(t, "", "keyspaces", "show", "pingd", "--json"), exitOK, `"former_formats": [`)
	is(r.command(t, "", "keyspaces", "retire", "pingd"), "pingd retired\n")
	expect(t, r.command(t, "", "keyspaces", "list"), exitOK, "retired")
	expect(t, r.command(t, "", "keys", "create", "--org", r.newOrg(t), "--keyspace", "pingd", "--name", "n"), exitRefused, "keyspace_retired")
	is(r.command(t, "", "keyspaces", "reinstate", "pingd"), "pingd reinstated\n")
	expect(t, r.command(t, "", "keyspaces", "retire", "keytrail"), exitRefused, "keyspace_protected")
	expect(t, r.command(t, "", "keys", "create", "--org", r.newOrg(t), "--keyspace", "pong", "--environment", "live", "--name", "n"), exitOK, "pong_l_")

	// What is exported changes nothing when it is applied.
	export := r.command(t, "", "keyspaces", "export")
	expect(t, export, exitOK)
	is(apply(export.out), "default unchanged\npingd unchanged\npong unchanged\n")
	asJSON := r.command(t, "", "keyspaces", "export", "--json")
	if !json.Valid([]byte(asJSON.out)) {
		t.Errorf("export --json: %s", asJSON.out)
	}
	is(apply(asJSON.out), "default unchanged\npingd unchanged\npong unchanged\n")
	if one := r.command(t, "", "keyspaces", "export", "pong"); strings.Count(one.out, "kind: ") != 1 {
		t.Errorf("%+v", one)
	}
	expect(t, r.command(t, "", "keyspaces", "export", "nope"), exitRefused, "keyspace_not_found")

	is(r.command(t, "", "__complete", "keys", "list", "--keyspace", ""), "default\nkeytrail\npingd\npong\n:4\n")
	if away := cli(t, "", environ("KEYTRAIL_URL=http://127.0.0.1:1", "KEYTRAIL_KEY=x"), "__complete", "keyspaces", "show", ""); away.out != "default\nkeytrail\n:4\n" {
		t.Errorf("without the service: %+v", away)
	}
}

// Each fault of a file is told with its line, and a file with one changes nothing.
func TestFaultsOfAFileAreToldByTheirLines(t *testing.T) {
	r := launch(t, t.TempDir())
	file := filepath.Join(t.TempDir(), "k.yaml")
	for name, c := range map[string]struct {
		text string
		code int
		want []string
	}{
		"unknown fields, types and bounds": {"kind: keyspace\nname: bad\nformat:\n  alphabet: hex\n  lenght: 3\n  length: '32'\nreplies:\n- for: [MISSING]\n  status: 700\n", exitRefused,
			[]string{":5: format.lenght: is not a field of this request", ":6: format.length: must be a whole number", ":9: replies[0].status: must be at most 599"}},
		"a case that there is not": {"kind: keyspace\nname: bad\nformat: {alphabet: hex, length: 32}\nreplies:\n- for: [VALID]\n  status: 401\n", exitRefused, []string{":5: replies[0].for[0]: must be one of MISSING, MALFORMED, UNAVAILABLE, NOT_FOUND, REVOKED, EXPIRED, DISABLED, INSUFFICIENT_SCOPE, IP_NOT_ALLOWED, RATE_LIMITED, REQUIREMENT_UNMET, WRONG_ORGANIZATION, ORG_SUSPENDED"}},
		"a rule of the validator":  {"kind: keyspace\nname: bad\nformat: {alphabet: hex, length: 32,\n  prefix: 'b '}\n", exitRefused, []string{":4: format.prefix: must be letters"}},
		"a rule of the domain":     {"kind: keyspace\nname: bad\nformat:\n  alphabet: hex\n  length: 8\n", exitRefused, []string{":5: format.length: 8 characters of hex are 32 random bits"}},
		"a missing field":          {"kind: keyspace\nname: bad\n\nformat:\n  length: 32\n", exitRefused, []string{":4: format.alphabet: is required"}},
		"a header":                 {"kind: keyspace\nname: bad\nformat: {alphabet: hex, length: 32}\nreplies:\n- for: [MISSING]\n  status: 401\n  headers:\n    X-A: b\n    Set-Cookie: c\n", exitRefused, []string{":9: replies[0].headers.Set-Cookie: must be the name"}},
		"a template":               {"kind: keyspace\nname: bad\nformat: {alphabet: hex, length: 32}\nreplies:\n- for: [MISSING]\n  status: 401\n  body: |\n    {{range .Scopes}}{{end}}\n", exitRefused, []string{":7: replies[0].body: has "}},
		"a name":                   {"kind: keyspace\nname: Bad\nformat: {alphabet: hex, length: 32}\n", exitRefused, []string{":2: name: must begin with a letter"}},
		"a name that is no path":   {"kind: keyspace\nname: a/../b\nformat: {alphabet: hex, length: 32}\n", exitUsage, []string{":2: name: must be"}},
		"a name of dots":           {"kind: keyspace\nname: ..\nformat: {alphabet: hex, length: 32}\n", exitUsage, []string{":2: name: must be"}},
		"what cannot be changed":   {"kind: keyspace\nname: keytrail\nformat: {alphabet: hex, length: 32}\n", exitRefused, []string{":1: the keyspace of management keys cannot be changed"}},
		"another kind":             {"kind: gizmo\nname: bad\n", exitUsage, []string{":1: kind: must be keyspace"}},
		"no YAML":                  {"kind: keyspace\nname: [\n", exitUsage, []string{":3: did not find"}},
		"a name twice":             {"kind: keyspace\nname: bad\nname: bad\n", exitUsage, []string{":3: name: is there twice"}},
		"overlap with the service": {"kind: keyspace\nname: bad\nformat: {alphabet: hex, length: 38, \n  prefix: kt_live_}\n", exitRefused, []string{":4: format.prefix: a text could be a secret of this format and of the keyspace default"}},
		"overlap within the file":  {"kind: keyspace\nname: other\nformat: {alphabet: hex, length: 40, prefix: x_}\n---\nkind: keyspace\nname: bad\nformat:\n  {prefix: x_, alphabet: base36, length: 40}\n", exitUsage, []string{":8: format.prefix: a text could be a secret of this format and of the keyspace other"}},
		"many entries":             {"kind: keyspace\nname: bad\nformat: {alphabet: hex, length: 32}\nscopes:\n" + strings.Repeat("  - {scope: \"a:b\", description: \""+strings.Repeat("x", 400)+"\"}\n", 90), exitRefused, []string{":4: scopes: must not have two entries of the same scope"}},
		"not UTF-8":                {"kind: keyspace\nname: \xff\n", exitUsage, []string{":2: must be UTF-8"}},
		"too many bytes":           {strings.Repeat("#", documents.MaxSize+1), exitUsage, []string{": it has more than"}},
	} {
		good := "kind: keyspace\nname: good\nformat: {alphabet: hex, length: 32, prefix: good_}\n"
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		alone := r.command(t, "", "keyspaces", "apply", "-f", file)
		lines := strings.Split(strings.TrimSpace(alone.err), "\n")
		if alone.code != c.code || len(lines) != len(c.want) {
			t.Errorf("%s: exit code %d, not %d: %+v", name, alone.code, c.code, alone)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(alone.err, file+want) {
				t.Errorf("%s: %q is not in %+v", name, want, alone)
			}
		}
		if after := r.command(t, good+"---\n"+c.text, "keyspaces", "apply", "-f", "-"); after.code == exitOK || after.out != "" {
			t.Errorf("%s, behind a good one: %+v", name, after)
		}
	}
	expect(t, r.command(t, "", "keyspaces", "show", "good"), exitRefused, "keyspace_not_found")
	expect(t, r.command(t, "", "keyspaces", "apply"), exitUsage, "file")
	expect(t, r.command(t, "", "keyspaces", "apply", "-f", filepath.Join(t.TempDir(), "nope")), exitUsage, "no such file")
	expect(t, r.command(t, "", "keyspaces", "apply", "-f", "-"), exitUsage, "there is no document in it")
	expect(t, cli(t, pingd, environ("KEYTRAIL_URL=http://127.0.0.1:1", "KEYTRAIL_KEY=x"), "keyspaces", "apply", "-f", "-"), exitUnreachable)
	expect(t, cli(t, pingd, environ("KEYTRAIL_URL="+r.url, "KEYTRAIL_KEY=x"), "keyspaces", "apply", "-f", "-"), exitRefused, "invalid_credentials")
	var m made
	fromJSON(t, r.command(t, "", "keys", "create", "--org", r.newOrg(t), "--keyspace", "keytrail", "--name", "tenant", "--scope", "*", "--json"), &m)
	expect(t, cli(t, pingd, environ("KEYTRAIL_URL="+r.url, "KEYTRAIL_KEY="+m.Secret), "keyspaces", "apply", "-f", "-"), exitRefused, "organization_out_of_reach")
}

// What changed after it was planned is not applied.
func TestWhatIsAppliedIsWhatWasPlanned(t *testing.T) {
	r := launch(t, t.TempDir())
	apply := func(text string) {
		t.Helper()
		expect(t, r.command(t, text, "keyspaces", "apply", "-f", "-"), exitOK)
	}
	apply(pingd)
	t.Setenv("KEYTRAIL_KEY", r.rootKey(t))
	c, cmd := &client{url: r.url, errs: io.Discard, keyFlag: &pflag.Flag{}}, &cobra.Command{}
	cmd.SetContext(t.Context())
	all, err := documents.Read("f", strings.NewReader(strings.Replace(pingd, "length: 32", "length: 40", 1)))
	if err != nil {
		t.Fatal(err)
	}
	plans, err := c.plan(cmd, all)
	if err != nil {
		t.Fatal(err)
	}
	apply(strings.Replace(pingd, "length: 32", "length: 50", 1))
	var refused *problem
	if err := c.put(cmd, &all[0], plans[0].Revision, nil, &struct{}{}); !errors.As(err, &refused) || refused.Code != "revision_stale" {
		t.Errorf("%v", err)
	}
}

// The example of docs/keyspaces.md is applied, and read back as it is.
func TestTheDocsHaveAKeyspace(t *testing.T) {
	page, err := os.ReadFile("../../docs/keyspaces.md")
	if err != nil {
		t.Fatal(err)
	}
	r := launch(t, t.TempDir())
	example := regexp.MustCompile("(?s)\n```yaml\n(.*?)```").FindStringSubmatch(string(page))[1]
	expect(t, r.command(t, example, "keyspaces", "apply", "-f", "-"), exitOK, "acme created")
	export := r.command(t, "", "keyspaces", "export", "acme")
	expect(t, r.command(t, export.out, "keyspaces", "apply", "-f", "-"), exitOK, "acme unchanged")
	expect(t, r.command(t, example, "keyspaces", "apply", "-f", "-"), exitOK, "acme unchanged")
}
