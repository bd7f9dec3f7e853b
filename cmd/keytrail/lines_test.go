package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// jsonLines are the lines that a process said, each of which must be an object.
func jsonLines(t *testing.T, said string) (lines []map[string]any) {
	t.Helper()
	for line := range strings.Lines(said) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Errorf("not JSON: %s", line)
		}
		lines = append(lines, m)
	}
	return lines
}

// TestEveryLineIsJSON starts, uses and stops a service, and starts one that cannot run.
func TestEveryLineIsJSON(t *testing.T) {
	data := t.TempDir()
	r := begin(t, data, "--log-format", "json", "--log-level", "debug")
	until(t, "it is ready", func() bool { return strings.Contains(r.said.String(), `"msg":"ready"`) })
	r.end(t, syscall.SIGTERM)
	if lines := jsonLines(t, r.said.String()); !slices.ContainsFunc(lines, func(m map[string]any) bool {
		return m["msg"] == "ready" && m["root_key_file"] == filepath.Join(data, "root.key") && strings.HasPrefix(fmt.Sprint(m["url"]), "http://")
	}) {
		t.Errorf("%s", r.said)
	}
	for _, args := range []string{"--uses sometimes", "--listen 256.0.0.1:0", "--nats-url nats://127.0.0.1:1 --nats-creds /none"} {
		got := cli(t, "", environ(), append([]string{"serve", "--data", t.TempDir(), "--log-format", "json"}, strings.Fields(args)...)...)
		lines := jsonLines(t, got.err)
		if got.code != exitRefused || len(lines) == 0 || lines[len(lines)-1]["msg"] != "not serving" {
			t.Errorf("%s: %+v", args, got)
		}
	}
	got := cli(t, "", environ("KEYTRAIL_LOG_FORMAT=json", "KEYTRAIL_LISTN=x"), "serve", "--data", t.TempDir())
	if lines := jsonLines(t, got.err); got.code != exitUsage || len(lines) != 1 {
		t.Errorf("%+v", got)
	}
}

func TestSIGHUPStopsInGoodOrder(t *testing.T) {
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGHUP) // else the service would inherit from nohup that it is ignored
	defer signal.Stop(caught)
	r := launch(t, t.TempDir())
	if code := r.end(t, syscall.SIGHUP); code != exitOK {
		t.Errorf("exit code %d: %s", code, r.said)
	}
}

// TestTheAccessLogHoldsIdsAlone sends secrets where they do not belong.
func TestTheAccessLogHoldsIdsAlone(t *testing.T) {
	r := launch(t, t.TempDir(), "--access-log", "--log-format", "text", "--log-level", "error")
	m := r.newKey(t, r.newOrg(t))
	request := func(method, path string, header ...string) {
		req, err := http.NewRequestWithContext(t.Context(), method, r.url+path, strings.NewReader(fmt.Sprintf(`{"key":%q}`, m.Secret)))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		res, err := web.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
	}
	root := []string{"Authorization", "Bearer " + r.rootKey(t)}
	request("GET", "/v1/keys/"+m.Secret, root...)
	request("GET", "/"+m.Secret+"?key="+m.Secret, root...)
	request("POST", "/v1/verify", append(root, "traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")...)
	request("GET", "/v1/authorize/default/"+m.Secret, "X-API-Key", m.Secret)
	request("GET", "/v1/principal", "X-API-Key", "kt_live_unknown")
	want := []string{
		`route="POST /v1/keys" status=201`, `route="GET /v1/keys/{id}" status=400`, "route=none status=404",
		`route="POST /v1/verify" status=200`, "key=" + m.Key.ID + " outcome=VALID trace_id=0af7651916cd43dd8448eb211c80319c",
		"client=127.0.0.1", "principal=key_", "route=/v1/authorize/{keyspace} status=200", `route="GET /v1/principal" status=401`,
	}
	until(t, "all is logged", func() bool { return strings.Count(r.said.String(), "msg=access") >= 7 })
	for _, text := range want {
		if !strings.Contains(r.said.String(), text) {
			t.Errorf("%q is not in\n%s", text, r.said)
		}
	}
	for _, secret := range []string{m.Secret, r.rootKey(t), "kt_live_unknown"} {
		if strings.Contains(r.said.String(), secret) {
			t.Errorf("a secret is in the log:\n%s", r.said)
		}
	}
}

func TestListsSayThatThereIsMore(t *testing.T) {
	r := launch(t, t.TempDir())
	org := r.newOrg(t)
	for range 3 {
		r.newKey(t, org)
	}
	list := func(args ...string) told {
		return r.command(t, "", append([]string{"keys", "list", "--org", org}, args...)...)
	}
	if got := list("--limit", "2"); strings.Count(got.out, "key_") != 2 || !strings.Contains(got.err, "more keys than these 2") {
		t.Errorf("%+v", got)
	}
	for _, args := range [][]string{{"--limit", "3"}, {"--all"}, nil} {
		if got := list(args...); strings.Count(got.out, "key_") != 3 || got.err != "" || got.code != exitOK {
			t.Errorf("%v: %+v", args, got)
		}
	}
	expect(t, list("--limit", "0"), exitUsage, "--all")
	expect(t, list("--limit", "-1"), exitUsage, "--all")
	expect(t, list("--limit", "2", "--all"), exitUsage)
}

func TestTwoManagementKeysAreRefused(t *testing.T) {
	r := launch(t, t.TempDir())
	file := filepath.Join(r.data, "root.key")
	both := environ("KEYTRAIL_URL="+r.url, "KEYTRAIL_KEY=other", "KEYTRAIL_KEY_FILE="+file)
	expect(t, cli(t, "", both, "principal"), exitUsage, "both set")
	expect(t, cli(t, "", both, "principal", "--key-file", file), exitOK)
}

// TestInterruptedIsNotUnreachable interrupts a command that waits for an answer.
func TestInterruptedIsNotUnreachable(t *testing.T) {
	asked := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // a server that has not read it does not notice that its client goes
		close(asked)
		<-r.Context().Done()
	}))
	defer silent.Close()
	var said bytes.Buffer
	cmd := exec.CommandContext(t.Context(), binary, "keys", "revoke", "--owner", "x", "--yes")
	cmd.Env, cmd.Stderr = environ("KEYTRAIL_URL="+silent.URL, "KEYTRAIL_KEY=x"), &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-asked
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != exitInterrupted || !strings.Contains(said.String(), "interrupted") || strings.Contains(said.String(), "reached") {
		t.Errorf("exit code %d: %s", code, said.String())
	}
}

// TestAWaitIsSaidOnce asks a service that is not ready, until it is.
func TestAWaitIsSaidOnce(t *testing.T) {
	asked := 0
	starting := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked++; asked < 4 {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(w, `{"status":503,"code":"starting","detail":"the service is starting"}`)
			return
		}
		fmt.Fprint(w, `{"id":"key_x","scopes":[]}`)
	}))
	defer starting.Close()
	got := cli(t, "", environ("KEYTRAIL_URL="+starting.URL, "KEYTRAIL_KEY=x"), "principal")
	if expect(t, got, exitOK, "key_x"); strings.Count(got.err, "trying again") != 1 {
		t.Errorf("%+v", got)
	}
}

func TestAnImportTellsSomeFailedLinesAndCountsAll(t *testing.T) {
	r := launch(t, t.TempDir())
	got := r.command(t, strings.Repeat("{}\n", 1500), "keys", "import", "-")
	if expect(t, got, exitRefused, "line 20:", "… and 1480 lines more", "failed 1500"); strings.Contains(got.out, "line 21:") {
		t.Errorf("%+v", got)
	}
}

// TestCompletionKnowsValues asks for what a shell would offer.
func TestCompletionKnowsValues(t *testing.T) {
	for args, want := range map[string]string{
		"keys revoke --reason ": "key_compromise", "keys list --status ": "expired", "keys list --sort ": "-last_used_at", "serve --uses ": "relaxed",
		"events tail --type ": "key.rotated", "events list --order ": "desc", "events replay --code ": "REVOKED", "events replay --to-file ": ":0", "projections rebuild ": "usage", "keys list --keyspace ": "keytrail", "keys list --owner ": ":4", "keys get ": ":4", "keys rotate k --overlap ": ":4",
		"keys import ": ":0", "serve --tls-cert ": ":0",
	} {
		words := strings.Split(args, " ")
		got := cli(t, "", environ(), append([]string{"__complete"}, words...)...)
		if !strings.Contains(got.out, want) {
			t.Errorf("%s: %+v", args, got)
		}
	}
}

// TestABuildSaysItsVersion builds as go install and as a release do.
func TestABuildSaysItsVersion(t *testing.T) {
	if got := cli(t, "", environ(), "version"); strings.TrimSpace(got.out) == "" {
		t.Errorf("%+v", got)
	}
	released := filepath.Join(t.TempDir(), "keytrail")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-ldflags", "-X main.version=v1.2.3", "-o", released, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	out, err := exec.CommandContext(t.Context(), released, "version").Output()
	if err != nil || string(out) != "v1.2.3\n" {
		t.Errorf("%q, %v", out, err)
	}
}
