package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// expect fails unless got ended with code and said each of said, on either stream.
func expect(t *testing.T, got told, code int, said ...string) {
	t.Helper()
	if got.code != code {
		t.Errorf("exit code %d, not %d: %+v", got.code, code, got)
	}
	for _, s := range said {
		if !strings.Contains(got.out+got.err, s) {
			t.Errorf("%q is not in %+v", s, got)
		}
	}
}

func fromJSON(t *testing.T, got told, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(got.out), v); err != nil {
		t.Fatalf("%v: %+v", err, got)
	}
}

func TestAKeysLifeOnTheCommandLine(t *testing.T) {
	r := launch(t, t.TempDir())
	var org struct{ ID string }
	fromJSON(t, r.command(t, "", "orgs", "create", "Acme", "--json"), &org)
	expect(t, r.command(t, "", "orgs", "rename", org.ID, "Acme Ltd"), exitOK, "Acme Ltd")
	expect(t, r.command(t, "", "orgs", "get", org.ID), exitOK, "Acme Ltd")
	expect(t, r.command(t, "", "orgs", "set", org.ID, "plan=pro", "trial=yes", "--json"), exitOK, `"plan": "pro"`)
	expect(t, r.command(t, "", "orgs", "set", org.ID, "--remove", "trial", "--json"), exitOK, "Acme Ltd")
	expect(t, r.command(t, "", "orgs", "set", org.ID, "plan"), exitUsage, "NAME=VALUE")
	expect(t, r.command(t, "", "orgs", "list"), exitOK, org.ID)
	expect(t, r.command(t, "", "owners", "set", "u/1", "--org", org.ID, "discord_id=8", "telegram=@u"), exitOK, "discord_id=8\n")
	expect(t, r.command(t, "", "owners", "set", "u/1", "--org", org.ID, "--remove", "telegram"), exitOK, "discord_id=8\n")
	if got := r.command(t, "", "owners", "get", "u/1", "--org", org.ID); got.out != "discord_id=8\n" {
		t.Errorf("the owner's attributes are %+v", got)
	}

	var m made
	fromJSON(t, r.command(t, "", "keys", "create", "--org", org.ID, "--name", "ci", "--owner", "u1", "--scope", "a:read", "--json"), &m)
	id := m.Key.ID
	expect(t, r.command(t, "", "keys", "list", "--org", org.ID), exitOK, id, "u1")
	expect(t, r.command(t, "", "keys", "get", id), exitOK, id)
	expect(t, r.command(t, "", "keys", "update", id, "--owner", "u2"), exitOK, "u2")
	expect(t, r.command(t, m.Secret, "verify"), exitOK, "VALID")
	expect(t, r.command(t, m.Secret, "verify", "--scope", "a:write"), exitRefused, "INSUFFICIENT_SCOPE")
	expect(t, r.command(t, "", "orgs", "suspend", org.ID, "--reason", "unpaid"), exitOK, "suspended")
	expect(t, r.command(t, m.Secret, "verify"), exitRefused, "ORG_SUSPENDED")
	expect(t, r.command(t, "", "orgs", "resume", org.ID), exitOK, "active")
	expect(t, r.command(t, "", "keys", "disable", id), exitOK, "disabled")
	expect(t, r.command(t, m.Secret, "verify"), exitRefused, "DISABLED")
	expect(t, r.command(t, "", "keys", "enable", id), exitOK, "active")

	var rotated made
	fromJSON(t, r.command(t, "", "keys", "rotate", id, "--json"), &rotated)
	expect(t, r.command(t, m.Secret, "verify"), exitRefused)
	expect(t, r.command(t, rotated.Secret, "verify"), exitOK, "VALID")
	expect(t, r.command(t, "", "keys", "revoke", id, "--reason", "superseded"), exitOK, "revoked")
	expect(t, r.command(t, rotated.Secret, "verify"), exitRefused, "REVOKED")
	expect(t, r.command(t, "", "keys", "enable", id), exitRefused, "key_revoked")

	expect(t, r.command(t, "", "events", "replay", "--key", id), exitOK, "key.created", "key.rotated", "key.revoked", "key.used")
	file := filepath.Join(t.TempDir(), "trail")
	expect(t, r.command(t, "", "events", "replay", "-o", file), exitOK)
	if b, err := os.ReadFile(file); err != nil || !strings.Contains(string(b), `"organization.created"`) {
		t.Errorf("replay to a file: %v: %.300s", err, b)
	}
	expect(t, r.command(t, "", "projections", "rebuild", "keys"), exitOK, "keys was rebuilt up to position")
	expect(t, r.command(t, "", "projections", "cancel", "keys"), exitOK, "done") // there is nothing to cancel
	expect(t, r.command(t, "", "projections", "cancel", "no-such"), exitRefused, "projection_not_found")
	expect(t, r.command(t, "", "projections", "rebuild", "no-such"), exitRefused, "projection_not_found")
	expect(t, r.command(t, "", "projections", "list"), exitOK, "usage")
	expect(t, r.command(t, "", "health"), exitOK, "ready")
	for _, said := range []string{m.Secret, rotated.Secret} {
		if strings.Contains(r.said.String(), said) {
			t.Error("a secret is in the log")
		}
	}
}

func TestImportAndBulkRevocation(t *testing.T) {
	r := launch(t, t.TempDir())
	org := r.newOrg(t)
	const count = 1500 // more than one request takes
	var lines strings.Builder
	for i := range count {
		digest := sha256.Sum256(fmt.Appendf(nil, "secret-%d", i))
		fmt.Fprintf(&lines, `{"org_id":%q,"name":"k%d","owner":"old","digest":%q,"prefix":"x"}`+"\n", org, i, hex.EncodeToString(digest[:]))
	}
	expect(t, r.command(t, lines.String(), "keys", "import", "-"), exitOK, "1500")
	expect(t, r.command(t, lines.String(), "keys", "import", "-"), exitOK, "1500") // repeating is harmless
	expect(t, r.command(t, "secret-7", "verify"), exitOK, "VALID")
	expect(t, r.command(t, `{"org_id":"`+org+`","name":"x","digest":"short"}`, "keys", "import", "-"), exitRefused, "digest")

	expect(t, r.command(t, "", "keys", "revoke", "--owner", "old", "--org", org), exitUsage, "--yes")
	expect(t, r.command(t, "", "keys", "revoke", "--owner", "old", "--org", org, "--dry-run"), exitOK, "would revoke 1500")
	expect(t, r.command(t, "secret-7", "verify"), exitOK, "VALID")
	expect(t, r.command(t, "", "keys", "revoke", "--owner", "old", "--org", org, "--yes"), exitOK, "revoked 1500")
	expect(t, r.command(t, "secret-7", "verify"), exitRefused, "REVOKED")
	expect(t, r.command(t, "", "keys", "revoke", "--owner", "old", "--org", org, "--yes"), exitOK, "already revoked 1500")
}

// TestAnUnsetVariableRevokesNothing is what a script does whose variables are not set.
func TestAnUnsetVariableRevokesNothing(t *testing.T) {
	r := launch(t, t.TempDir())
	org := r.newOrg(t)
	m := r.newKey(t, org)
	for _, args := range [][]string{{"--owner", ""}, {"--org", org, "--owner", ""}, {"--org", "", "--all"}, {"--org", ""}, {"--org", org}, {"--org", org, "--all", "--owner", "o"},
		{"--created-after", ""}, {m.Key.ID, "--owner", ""}, {m.Key.ID, "--all"}, {}} {
		expect(t, r.command(t, "", append([]string{"keys", "revoke", "--yes"}, args...)...), exitUsage)
	}
	expect(t, r.command(t, "", "keys", "revoke", "--yes", "--all"), exitRefused, "org_id")
	expect(t, r.command(t, "", "keys", "list", "--owner", ""), exitUsage, "--owner")
	expect(t, r.command(t, m.Secret, "verify"), exitOK, "VALID")
	expect(t, r.command(t, "", "keys", "revoke", "--org", org, "--all"), exitUsage, "--yes")
	expect(t, r.command(t, "", "keys", "revoke", "--org", org, "--all", "--yes"), exitOK, "revoked 1")
	expect(t, r.command(t, m.Secret, "verify"), exitRefused, "REVOKED")
	expect(t, r.command(t, "", "keys", "revoke", "--created-after", "2020-01-01T00:00:00Z", "--yes"), exitRefused, "own_key")
	expect(t, r.command(t, "", "keys", "list"), exitOK)
}

func TestExitCodes(t *testing.T) {
	r := launch(t, t.TempDir())
	noKey := environ("KEYTRAIL_URL=" + r.url)
	expect(t, r.command(t, "", "keys", "get", "key_00000000000000000000000000"), exitRefused, "key_not_found")
	expect(t, r.command(t, "", "no-such-command"), exitUsage)
	expect(t, r.command(t, "", "keys", "no-such-command"), exitUsage)
	expect(t, r.command(t, "", "keys", "list", "--no-such-flag"), exitUsage)
	expect(t, cli(t, "", noKey, "keys", "list"), exitUsage, "KEYTRAIL_KEY")
	expect(t, cli(t, "", environ("KEYTRAIL_URL="+r.url, "KEYTRAIL_KEY=wrong"), "keys", "list"), exitRefused, "invalid_credentials")
	expect(t, cli(t, "", environ("KEYTRAIL_URL=http://127.0.0.1:1", "KEYTRAIL_KEY=x"), "keys", "list"), exitUnreachable)
	expect(t, cli(t, "", environ("KEYTRAIL_URL=http://127.0.0.1:1"), "health"), exitUnreachable)
	expect(t, cli(t, "", environ(), "version"), exitOK)
	expect(t, r.command(t, "x", "verify", "-"), exitRefused, "NOT_FOUND")
	expect(t, r.command(t, "", "verify", "kt_live_in_the_arguments"), exitUsage)
}

// TestACommandOutwaitsARestart gives a command while the service is away.
func TestACommandOutwaitsARestart(t *testing.T) {
	listen := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	r := launch(t, t.TempDir(), "--listen", listen)
	org := r.newOrg(t)
	r.end(t, syscall.SIGKILL)
	got := make(chan told, 1)
	go func() { got <- r.command(t, "", "keys", "create", "--org", org, "--name", "patient", "--json") }()
	again := launch(t, r.data, "--listen", listen)
	expect(t, <-got, exitOK, "patient")
	list := again.command(t, "", "keys", "list", "--org", org)
	if expect(t, list, exitOK); strings.Count(list.out, "patient") != 1 {
		t.Errorf("%s", list.out)
	}
}

func TestACommandWaitsForARateLimitThatIsSoonFree(t *testing.T) {
	r := launch(t, t.TempDir())
	limited := func(limit string) []string {
		var m made
		fromJSON(t, r.command(t, "", "keys", "create", "--keyspace", "keytrail", "--name", "m", "--scope", "organizations:read", "--limit", limit, "--json"), &m)
		return environ("KEYTRAIL_URL="+r.url, "KEYTRAIL_KEY="+m.Secret)
	}
	soon, late := limited("1/1s"), limited("1/720h")
	for range 3 {
		expect(t, cli(t, "", soon, "orgs", "list"), exitOK)
	}
	expect(t, cli(t, "", late, "orgs", "list"), exitOK)
	expect(t, cli(t, "", late, "orgs", "list"), exitRefused, "rate_limited", "wait ", "h")
}

// TestTailOutlivesARestart follows events while the service goes away and comes back.
func TestTailOutlivesARestart(t *testing.T) {
	listen := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	r := launch(t, t.TempDir(), "--listen", listen)
	var said safeBuffer
	cmd := exec.CommandContext(t.Context(), binary, "events", "tail", "--type", "organization.created", "--json")
	cmd.Stdout, cmd.Stderr, cmd.Env = &said, &said, environ("KEYTRAIL_URL="+r.url, "KEYTRAIL_KEY="+r.rootKey(t))
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	heard := func(org string) func() bool {
		return func() bool { return strings.Count(said.String(), `"subject":"`+org) == 1 }
	}
	until(t, "it follows", heard(r.newOrg(t)))
	r.end(t, syscall.SIGKILL)
	again := launch(t, r.data, "--listen", listen)
	until(t, "it goes on", heard(again.newOrg(t)))
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v: %s", err, said.String())
	}
}
