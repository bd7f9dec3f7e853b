package main_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/projections"
)

var crashRounds = flag.Int("crash.rounds", 3, "how often the crash test kills the service")

var binary string

func TestMain(m *testing.M) {
	flag.Parse()
	dir, err := os.MkdirTemp("", "keytrail")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "keytrail")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		panic(string(out))
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// A process is a real service in a process of its own.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	url  string
	root string
	log  *bytes.Buffer // what it printed before it was ready
	done chan error
}

var ready = regexp.MustCompile(`ready on (http://\S+);`)

func startService(t *testing.T, dir string, args ...string) *process {
	t.Helper()
	p, err := tryService(t, dir, args...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func tryService(t *testing.T, dir string, args ...string) (*process, error) {
	p := &process{t: t, log: &bytes.Buffer{}, done: make(chan error, 1)}
	p.cmd = exec.Command(binary, append([]string{"serve", "--listen", "127.0.0.1:0", "--data", dir}, args...)...)
	errs, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	lines := bufio.NewScanner(errs)
	for lines.Scan() {
		fmt.Fprintln(p.log, lines.Text())
		if m := ready.FindStringSubmatch(lines.Text()); m != nil {
			p.url = m[1]
			break
		}
	}
	go func() {
		_, _ = io.Copy(io.Discard, errs)
		p.done <- p.cmd.Wait()
	}()
	if p.url == "" {
		return p, fmt.Errorf("%w\n%s", <-p.done, p.log)
	}
	key, err := os.ReadFile(filepath.Join(dir, "root.key"))
	p.root = strings.TrimSpace(string(key))
	return p, err
}

func (p *process) stop(s os.Signal) error {
	_ = p.cmd.Process.Signal(s)
	return <-p.done
}

// do gives 0 if the service did not answer.
func (p *process) do(method, path, body, requestID string) (status int, answer map[string]any) {
	r, err := http.NewRequest(method, p.url+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+p.root)
	if requestID != "" {
		r.Header.Set("X-Request-Id", requestID)
	}
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, nil
	}
	defer a.Body.Close()
	if json.NewDecoder(a.Body).Decode(&answer) != nil {
		return 0, nil // broken off
	}
	return a.StatusCode, answer
}

func (p *process) must(method, path, body string) map[string]any {
	p.t.Helper()
	status, answer := p.do(method, path, body, "")
	if status/100 != 2 {
		p.t.Fatalf("%s %s: %d %v", method, path, status, answer)
	}
	return answer
}

func TestASecondProcessIsRefused(t *testing.T) {
	dir := t.TempDir()
	p := startService(t, dir)
	if second, err := tryService(t, dir); err == nil || !strings.Contains(second.log.String(), "another process is using") {
		t.Errorf("a second process on one directory: %v", err)
	}
	if info, err := os.Stat(filepath.Join(dir, "root.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("root.key: %v %v", info, err)
	}
	if err := p.stop(syscall.SIGTERM); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
}

func TestUnknownSettingsAreRefused(t *testing.T) {
	t.Setenv("KEYTRAIL_COLOUR", "red")
	if p, err := tryService(t, t.TempDir()); err == nil || !strings.Contains(p.log.String(), "KEYTRAIL_COLOUR is no setting") {
		t.Errorf("%v", err)
	}
}

// TestARootKeyIsNeverOverwritten starts on a directory whose ledger is gone.
func TestARootKeyIsNeverOverwritten(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "root.key"), []byte("another ledger's\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := startService(t, dir)
	kept, err := filepath.Glob(filepath.Join(dir, "root.key.before-*"))
	if err != nil || len(kept) != 1 {
		t.Fatalf("kept %v, %v", kept, err)
	}
	if b, _ := os.ReadFile(kept[0]); string(b) != "another ledger's\n" {
		t.Errorf("kept %q", b)
	}
	_ = p.stop(syscall.SIGTERM)
}

func TestRateLimitsSurviveARestart(t *testing.T) {
	dir := t.TempDir()
	p := startService(t, dir)
	org := p.must("POST", "/v1/organizations", `{"name":"acme"}`)["id"].(string)
	secret := p.must("POST", "/v1/keys", `{"name":"n","org_id":"`+org+`","rate_limits":[{"limit":3,"window":"720h"}]}`)["secret"].(string)
	verify := `{"key":"` + secret + `"}`
	for range 2 {
		p.must("POST", "/v1/verify", verify)
	}
	_ = p.stop(syscall.SIGKILL)
	p = startService(t, dir)
	for _, want := range []string{"VALID", "RATE_LIMITED"} {
		if a := p.must("POST", "/v1/verify", verify); a["code"] != want {
			t.Errorf("after a restart: %v, want %s", a["code"], want)
		}
	}
	_ = p.stop(syscall.SIGTERM)
}

// A trail is what was acknowledged to clients of a service that is killed now and then.
type trail struct {
	mu      sync.Mutex
	keys    map[string]string // id → a secret that is valid
	revoked map[string]string // id → a secret that must never be valid again
	uses    map[string]bool   // request ids of acknowledged verifications
	next    atomic.Int64
}

func (tr *trail) pick(from map[string]string) (id, secret string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for id, secret := range from {
		return id, secret
	}
	return "", ""
}

// load drives p with a mix of everything until it is gone.
func (tr *trail) load(p *process, org string) {
	var workers sync.WaitGroup
	for range 6 {
		workers.Go(func() {
			for tr.step(p, org) {
			}
		})
	}
	workers.Wait()
}

func (tr *trail) step(p *process, org string) (alive bool) {
	request := fmt.Sprintf("use-%d", tr.next.Add(1))
	switch n := rand.IntN(10); {
	case n < 2:
		status, a := p.do("POST", "/v1/keys", `{"name":"n","org_id":"`+org+`"}`, "")
		if status == 201 {
			tr.mu.Lock()
			tr.keys[a["key"].(map[string]any)["id"].(string)] = a["secret"].(string)
			tr.mu.Unlock()
		}
		return status != 0
	case n < 3:
		id, secret := tr.pick(tr.keys)
		if id == "" {
			return true
		}
		tr.mu.Lock()
		delete(tr.keys, id) // whether or not it will be acknowledged, it is no longer sure to be valid
		tr.mu.Unlock()
		status, _ := p.do("POST", "/v1/keys/"+id+"/revoke", "{}", "")
		if status == 200 {
			tr.mu.Lock()
			tr.revoked[id] = secret
			tr.mu.Unlock()
		}
		return status != 0
	default:
		_, secret := tr.pick(tr.keys)
		if secret == "" {
			return true
		}
		status, _ := p.do("POST", "/v1/verify", `{"key":"`+secret+`"}`, request)
		if status == 200 {
			tr.mu.Lock()
			tr.uses[request] = true
			tr.mu.Unlock()
		}
		return status != 0
	}
}

// TestNothingAcknowledgedIsLostByACrash kills the service at random moments under load.
// After each restart all that was acknowledged is there, each use once, no revoked key is
// valid, and the read model is the one that the ledger gives.
func TestNothingAcknowledgedIsLostByACrash(t *testing.T) {
	dir := t.TempDir()
	tr := &trail{keys: map[string]string{}, revoked: map[string]string{}, uses: map[string]bool{}}
	org := ""
	for round := range *crashRounds {
		p := startService(t, dir)
		if round == 0 {
			org = p.must("POST", "/v1/organizations", `{"name":"acme"}`)["id"].(string)
		}
		kill := time.AfterFunc(time.Duration(300+rand.IntN(1200))*time.Millisecond, func() { _ = p.cmd.Process.Kill() })
		tr.load(p, org)
		kill.Stop()
		<-p.done
		tr.check(t, dir)
		sameAsRebuilt(t, dir)
	}
	if len(tr.uses) < 50 || len(tr.revoked) == 0 {
		t.Errorf("too little happened: %d uses, %d revoked", len(tr.uses), len(tr.revoked))
	}
	t.Logf("%d rounds: %d keys, %d revoked, %d uses acknowledged", *crashRounds, len(tr.keys), len(tr.revoked), len(tr.uses))
}

func (tr *trail) check(t *testing.T, dir string) {
	t.Helper()
	p := startService(t, dir)
	defer func() { _ = p.stop(syscall.SIGTERM) }()
	for id, secret := range tr.keys {
		if a := p.must("POST", "/v1/verify", `{"key":"`+secret+`"}`); a["code"] != "VALID" {
			t.Errorf("acknowledged key %s is %v after the crash", id, a["code"])
		}
	}
	for id, secret := range tr.revoked {
		if a := p.must("POST", "/v1/verify", `{"key":"`+secret+`"}`); a["code"] != "REVOKED" {
			t.Errorf("revoked key %s is %v after the crash", id, a["code"])
		}
	}
	seen := map[string]int{}
	// Reading is a use of the root key, too: without an end it would always find one more.
	to := time.Now().UTC().Format(time.RFC3339Nano)
	for cursor := ""; ; {
		page := p.must("GET", "/v1/events?limit=1000&type=key.used&to="+to+"&cursor="+cursor, "")
		items := page["items"].([]any)
		for _, i := range items {
			e := i.(map[string]any)
			own := e["subject"] == e["actor"] // of the root key, once a minute
			if id, _ := e["correlationid"].(string); strings.HasPrefix(id, "use-") && !own {
				seen[id]++
			}
		}
		if cursor = page["next_cursor"].(string); len(items) == 0 {
			break
		}
	}
	for id := range tr.uses {
		if seen[id] != 1 {
			t.Errorf("acknowledged use %s is on the ledger %d times", id, seen[id])
		}
	}
}

// sameAsRebuilt compares the rows that crashes and restarts left with those that the
// ledger gives from its beginning.
func sameAsRebuilt(t *testing.T, dir string) {
	t.Helper()
	server, err := eventstore.StartServer(filepath.Join(dir, "ledger"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	nc, err := server.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	ledger, err := eventstore.Open(t.Context(), nc, eventstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	have, want := rowsOf(t, filepath.Join(dir, "readmodel"), ledger), rowsOf(t, t.TempDir(), ledger)
	for k := range want {
		if have[k] != want[k] {
			t.Errorf("row %s is %s, rebuilt %s", k, have[k], want[k])
		}
	}
	if len(have) != len(want) {
		t.Errorf("%d rows, rebuilt %d", len(have), len(want))
	}
}

func rowsOf(t *testing.T, dir string, l *eventstore.Ledger) map[string]string {
	t.Helper()
	s, err := projections.Open(dir, projections.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, l) }()
	for stream, wait := range map[eventstore.Stream]func(context.Context, eventstore.Position) error{eventstore.Events: s.WaitFor, eventstore.Uses: s.WaitForUses} {
		end, err := l.End(ctx, stream)
		if err == nil {
			err = wait(ctx, end)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	rows := map[string]string{}
	err = s.Dump(func(name string, key, value []byte) error {
		rows[fmt.Sprintf("%s %x", name, key)] = fmt.Sprintf("%x", value)
		return nil
	})
	cancel()
	if err := errors.Join(err, <-done, s.Close()); err != nil {
		t.Fatal(err)
	}
	return rows
}

// TestSIGTERMLosesNoUse stops a relaxed service under load: what it answered is there.
func TestSIGTERMLosesNoUse(t *testing.T) {
	dir := t.TempDir()
	p := startService(t, dir, "--uses", "relaxed")
	tr := &trail{keys: map[string]string{}, revoked: map[string]string{}, uses: map[string]bool{}}
	org := p.must("POST", "/v1/organizations", `{"name":"acme"}`)["id"].(string)
	stopped := make(chan error, 1)
	time.AfterFunc(700*time.Millisecond, func() { stopped <- p.stop(syscall.SIGTERM) })
	tr.load(p, org)
	if err := <-stopped; err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
	if len(tr.uses) == 0 {
		t.Error("nothing was used")
	}
	tr.check(t, dir)
}

func TestTheCommandLine(t *testing.T) {
	dir := t.TempDir()
	p := startService(t, dir)
	defer func() { _ = p.stop(syscall.SIGTERM) }()
	cli := func(in string, args ...string) (string, int) {
		cmd := exec.Command(binary, append([]string{"--url", p.url, "--key-file", filepath.Join(dir, "root.key")}, args...)...)
		cmd.Stdin = strings.NewReader(in)
		out, _ := cmd.CombinedOutput()
		return string(out), cmd.ProcessState.ExitCode()
	}
	orgJSON, _ := cli("", "orgs", "create", "acme", "--json")
	org := regexp.MustCompile(`org_\w+`).FindString(orgJSON)
	made, _ := cli("", "keys", "create", "--org", org, "--name", "n", "--owner", "o", "--json")
	id, secret := regexp.MustCompile(`"id": "(key_\w+)"`).FindStringSubmatch(made)[1], regexp.MustCompile(`kt_live_\w{38}`).FindString(made)
	digest, _ := domain.NewSecret("old").Digest().MarshalText()
	file := filepath.Join(dir, "events.ndjson")
	for _, c := range []struct {
		in   string
		args string
		code int
		want string
	}{
		{secret, "verify", 0, "VALID"},
		{secret, "verify --scope a:b", 1, "INSUFFICIENT_SCOPE"},
		{"", "verify", 2, "no key came"},
		{"", "keys get " + id, 0, "keyspace  default"},
		{"", "keys list --owner o", 0, id},
		{"", "keys update " + id + " --name renamed --expires-at never", 0, "renamed"},
		{"", "keys disable " + id, 0, "disabled"},
		{"", "keys enable " + id, 0, "active"},
		{"", "keys rotate " + id + " --overlap 1h", 0, "shown this once"},
		{"", "keys rotate " + id + " --overlap soon", 1, "a duration is"},
		{"", "keys get key_nope", 1, "key id"},
		{`{"org_id":"` + org + `","name":"old","digest":"` + string(digest) + `"}`, "keys import -", 0, "imported 1"},
		{"nonsense", "keys import -", 1, "line 1"},
		{"old", "verify", 0, "VALID"},
		{"", "keys revoke --owner o --dry-run", 0, "revoked 1"},
		{"", "keys revoke --owner o", 2, "--yes"},
		{"", "keys revoke --owner o --yes", 0, "revoked 1"},
		{"", "keys revoke " + id, 0, "revoked"},
		{"", "events replay --key " + id, 0, "key.revoked"},
		{"", "events replay -o " + file, 0, "wrote"},
		{"", "projections list", 0, "organizations"},
		{"", "projections rebuild keys", 0, "keys"},
		{"", "projections rebuild nope", 1, "projection_not_found"},
		{"", "orgs rename " + org + " globex", 0, "globex"},
		{"", "health", 0, "ready"},
		{"", "keys frobnicate", 2, "unknown command"},
		{"", "keys list --frobnicate", 2, "unknown flag"},
		{"", "--url http://127.0.0.1:1 keys list", 3, "cannot be reached"},
	} {
		out, code := cli(c.in, strings.Fields(c.args)...)
		if code != c.code || !strings.Contains(out, c.want) {
			t.Errorf("keytrail %s: exit %d\n%swant exit %d and %q", c.args, code, out, c.code, c.want)
		}
	}
	if b, err := os.ReadFile(file); err != nil || bytes.Count(b, []byte("\n")) < 10 || bytes.Contains(b, []byte(secret)) {
		t.Errorf("the replayed file: %v\n%s", err, b)
	}
}
