package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/keytrail/keytrail/api"
	"github.com/keytrail/keytrail/backup"
	"github.com/keytrail/keytrail/internal/keyring"
)

// underLoad verifies keys until what it gives is called.
func (r *running) underLoad(t *testing.T, keys []made) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var workers sync.WaitGroup
	root, first := r.rootKey(t), make(chan struct{})
	var once sync.Once
	for w := range 8 {
		workers.Go(func() {
			for i := w; ctx.Err() == nil; i++ {
				err := send(ctx, "POST", r.url+"/v1/verify", root, "", map[string]string{"key": keys[i%len(keys)].Secret}, nil)
				if err != nil && ctx.Err() == nil {
					t.Error(err)
					return
				}
				once.Do(func() { close(first) })
			}
		})
	}
	<-first
	return func() { cancel(); workers.Wait() }
}

// backUp makes a back-up and tells what it says of itself.
func (r *running) backUp(t *testing.T, file string) backup.Manifest {
	t.Helper()
	var said struct{ Manifest backup.Manifest }
	got := r.command(t, "", "backup", "--out", file, "--json")
	if expect(t, got, exitOK); got.code == exitOK {
		fromJSON(t, got, &said)
	}
	return said.Manifest
}

// eventsUpTo is the replay of what a back-up should hold.
func (r *running) eventsUpTo(t *testing.T, m backup.Manifest) string {
	t.Helper()
	got := r.command(t, "", "events", "replay", "--json")
	expect(t, got, exitOK)
	var kept strings.Builder
	for line := range strings.Lines(got.out) {
		var e struct{ Source, Position string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		text, _, _ := strings.Cut(e.Position, ".")
		position, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if position <= uint64(m.Last[filepath.Base(e.Source)]) {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

// restoredOf is the service on what a back-up was restored to, with the keyring and the root
// key of r.
func restoredOf(t *testing.T, r *running, data string, args ...string) *running {
	t.Helper()
	again := launch(t, data, append(args, "--keyring", filepath.Join(r.data, "keyring"))...)
	b, err := os.ReadFile(filepath.Join(r.data, "root.key"))
	if err == nil {
		err = os.WriteFile(filepath.Join(data, "root.key"), b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return again
}

// TestABackUpUnderLoadIsRestored is the whole way: a back-up of a service that verifies, a
// restoration into an empty directory, the same events and the same keys.
func TestABackUpUnderLoadIsRestored(t *testing.T) {
	r := launch(t, t.TempDir())
	org := r.newOrg(t)
	var keys []made
	for range 20 {
		keys = append(keys, r.newKey(t, org))
	}
	expect(t, r.command(t, "", "keys", "revoke", keys[0].Key.ID), exitOK)
	dir := t.TempDir()
	file := filepath.Join(dir, "ledger.tar")
	stop := r.underLoad(t, keys)
	manifest := r.backUp(t, file)
	stop()
	expect(t, r.command(t, "", "backup", "--out", file), exitUsage, "exists")
	expect(t, r.command(t, "", "keys", "revoke", keys[1].Key.ID, "--reason", "key_compromise"), exitOK)
	expect(t, r.command(t, "", "keys", "revoke", keys[2].Key.ID), exitOK)
	later := r.newKey(t, org)
	expect(t, r.command(t, "", "keys", "revoke", later.Key.ID), exitOK)
	want := r.eventsUpTo(t, manifest)
	known := filepath.Join(dir, "revocations")
	expect(t, r.command(t, "", "events", "replay", "--type", "key.revoked", "--key", keys[1].Key.ID, "-o", known), exitOK)

	data := filepath.Join(dir, "data")
	expect(t, cli(t, "", environ(), "restore", "--from", file, "--data", data), exitOK, "is good again", "--confirm")
	ring, err := keyring.Load(filepath.Join(r.data, "keyring"))
	if err != nil {
		t.Fatal(err)
	}
	expect(t, cli(t, "", environ(), "restore", "--data", data, "--revocations-from", known), exitOK, "1 revocations are in force", ring.Fingerprint())
	refused := begin(t, data)
	<-refused.done
	if code := refused.cmd.ProcessState.ExitCode(); code != exitRefused || !strings.Contains(refused.said.String(), "nobody has confirmed") {
		t.Errorf("exit code %d: %s", code, refused.said)
	}
	expect(t, cli(t, "", environ(), "restore", "--from", file, "--data", data), exitUsage, "not empty")
	// From the service itself, which knows them all; one of a key that came later.
	expect(t, cli(t, "", environ("KEYTRAIL_KEY="+r.rootKey(t)), "restore", "--data", data, "--revocations-from", r.url), exitOK, "3 revocations are in force, 1 are of keys")
	expect(t, cli(t, "", environ(), "restore", "--data", data, "--confirm"), exitOK)

	again := restoredOf(t, r, data)
	if got := again.eventsUpTo(t, manifest); got != want || strings.Count(want, "key.used") == 0 {
		t.Errorf("%d bytes of events were restored of %d", len(got), len(want))
	}
	for i, k := range keys {
		code, outcome := exitOK, "VALID"
		if i < 3 {
			code, outcome = exitRefused, "REVOKED"
		}
		expect(t, again.command(t, k.Secret, "verify"), code, outcome)
	}
	again.newKey(t, org)
}

// TestABackUpKnowsNoLaterRevocation says why a restoration waits for the operator's word.
func TestABackUpKnowsNoLaterRevocation(t *testing.T) {
	r := launch(t, t.TempDir())
	m := r.newKey(t, r.newOrg(t))
	file := filepath.Join(t.TempDir(), "ledger.tar")
	r.backUp(t, file)
	expect(t, r.command(t, "", "keys", "revoke", m.Key.ID), exitOK)
	data := filepath.Join(t.TempDir(), "data")
	expect(t, cli(t, "", environ(), "restore", "--from", file, "--data", data, "--confirm"), exitOK)
	expect(t, restoredOf(t, r, data).command(t, m.Secret, "verify"), exitOK, "VALID")
}

func TestWhoMayBackUpAndExport(t *testing.T) {
	r := launch(t, t.TempDir())
	org := r.newOrg(t)
	var all, narrow made
	r.call(t, "POST", "/v1/keys", map[string]any{"org_id": org, "keyspace": "keytrail", "name": "tenant", "scopes": []string{"*"}}, &all)
	r.call(t, "POST", "/v1/keys", map[string]any{"keyspace": "keytrail", "name": "narrow", "scopes": []string{"keys:read", "audit:read"}}, &narrow)
	for _, path := range []string{"/v1/backup", "/v1/keys/export"} {
		for key, status := range map[string]string{"": "401", all.Secret: "403", narrow.Secret: "403"} {
			var refused *refusedError
			err := send(t.Context(), "GET", r.url+path, key, "", nil, nil)
			if !errors.As(err, &refused) || !strings.Contains(refused.text, ": "+status) {
				t.Errorf("%s: %v, not %s", path, err, status)
			}
		}
	}
}

func TestADamagedBackUpIsRefusedBeforeAnythingIsWritten(t *testing.T) {
	r := launch(t, t.TempDir())
	r.newKey(t, r.newOrg(t))
	dir := t.TempDir()
	file := filepath.Join(dir, "ledger.tar")
	r.backUp(t, file)
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	broken := bytes.Clone(whole)
	broken[bytes.Index(whole, []byte("\x28\xb5\x2f\xfd"))+50] ^= 1 // in the first compressed chunk
	for name, content := range map[string][]byte{"cut": whole[:len(whole)*2/3], "broken": broken, "empty": nil} {
		bad, data := filepath.Join(dir, name), filepath.Join(dir, name+"-data")
		if err := os.WriteFile(bad, content, 0o600); err != nil {
			t.Fatal(err)
		}
		expect(t, cli(t, "", environ(), "restore", "--from", bad, "--data", data, "--confirm"), exitUsage, "damaged")
		if _, err := os.Stat(data); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: something was written: %v", name, err)
		}
	}
}

// stall is a proxy that passes on so many bytes of each answer and then nothing.
func stall(t *testing.T, to string, after int64) (url string, stalled <-chan struct{}) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	reached := make(chan struct{})
	go func() {
		in, err := l.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", strings.TrimPrefix(to, "http://"))
		if err != nil {
			return
		}
		go func() { _, _ = io.Copy(out, in) }()
		_, _ = io.CopyN(in, out, after)
		close(reached)
		<-t.Context().Done()
		_, _ = in.Close(), out.Close()
	}()
	return "http://" + l.Addr().String(), reached
}

// TestABackUpThatIsKilledLeavesNoFile kills the command while the answer comes.
func TestABackUpThatIsKilledLeavesNoFile(t *testing.T) {
	r := launch(t, t.TempDir())
	r.newKey(t, r.newOrg(t))
	url, stalled := stall(t, r.url, 2000)
	file := filepath.Join(t.TempDir(), "ledger.tar")
	cmd := exec.CommandContext(t.Context(), binary, "backup", "--out", file)
	cmd.Env = environ("KEYTRAIL_URL="+url, "KEYTRAIL_KEY="+r.rootKey(t))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-stalled
	until(t, "it writes", func() bool { found, _ := filepath.Glob(file + "*"); return len(found) > 0 })
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is a file: %v", err)
	}
	r.backUp(t, file)
}

// TestARestorationThatIsKilledIsNotServed kills restore as soon as there is something on
// disk, and later and later in its work.
func TestARestorationThatIsKilledIsNotServed(t *testing.T) {
	r := launch(t, t.TempDir())
	org := r.newOrg(t)
	for range 50 {
		r.newKey(t, org)
	}
	file := filepath.Join(t.TempDir(), "ledger.tar")
	r.backUp(t, file)
	for _, moment := range []struct {
		seen string
		cut  bool // in the middle of writing a stream's metadata, which the server then passes over
	}{{"KEYTRAIL_EVENTS/meta.sum", false}, {"KEYTRAIL_EVENTS/meta.sum", true}, {"KEYTRAIL_EVENTS/msgs/*.blk", false}, {"KEYTRAIL_USES/meta.sum", false}} {
		seen := moment.seen
		data := filepath.Join(t.TempDir(), "data")
		cmd := exec.CommandContext(t.Context(), binary, "restore", "--from", file, "--data", data)
		cmd.Env = environ()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		until(t, "there is "+seen, func() bool {
			found, _ := filepath.Glob(filepath.Join(data, "ledger/jetstream/$G/streams", seen))
			return len(found) > 0
		})
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
		sums, _ := filepath.Glob(filepath.Join(data, "ledger/jetstream/$G/streams/*/meta.sum"))
		for _, sum := range sums {
			if moment.cut {
				if err := os.Truncate(sum, 0); err != nil {
					t.Fatal(err)
				}
			}
		}
		refused := begin(t, data)
		until(t, "it ends", func() bool {
			select {
			case <-refused.done:
				return true
			default:
				return false
			}
		})
		if code := refused.cmd.ProcessState.ExitCode(); code != exitRefused || !strings.Contains(refused.said.String(), "restor") {
			t.Errorf("%s: exit code %d: %s", seen, code, refused.said)
		}
		if err := os.RemoveAll(data); err != nil {
			t.Fatal(err)
		}
		expect(t, cli(t, "", environ(), "restore", "--from", file, "--data", data), exitOK)
	}
}

// TestABackUpMovesBetweenAClusterAndADirectory restores what a cluster held into a
// directory, and what that held into another cluster.
func TestABackUpMovesBetweenAClusterAndADirectory(t *testing.T) {
	t.Parallel() // it waits more than it computes
	_, from := natsCluster(t, 3)
	r := launch(t, t.TempDir(), "--nats-url", from, "--replicas", "3")
	m := r.newKey(t, r.newOrg(t))
	expect(t, r.command(t, m.Secret, "verify"), exitOK, "VALID")
	dir := t.TempDir()
	file := filepath.Join(dir, "ledger.tar")
	manifest := r.backUp(t, file)
	want := r.eventsUpTo(t, manifest)

	data := filepath.Join(dir, "data")
	expect(t, cli(t, "", environ(), "restore", "--from", file, "--data", data, "--confirm"), exitOK)
	alone := restoredOf(t, r, data)
	if got := alone.eventsUpTo(t, manifest); got != want {
		t.Errorf("%d bytes of events were restored of %d", len(got), len(want))
	}

	_, to := natsCluster(t, 3)
	target := []string{"--nats-url", to, "--replicas", "3"}
	expect(t, cli(t, "", environ(), append([]string{"restore", "--from", file}, target...)...), exitOK)
	expect(t, cli(t, "", environ(), append([]string{"restore", "--from", file}, target...)...), exitUsage, "KEYTRAIL_EVENTS is there already")
	expect(t, cli(t, "", environ(), append([]string{"restore", "--confirm"}, target...)...), exitOK)
	again := restoredOf(t, r, t.TempDir(), target...)
	if got := again.eventsUpTo(t, manifest); got != want {
		t.Errorf("%d bytes of events were restored of %d", len(got), len(want))
	}
	expect(t, again.command(t, m.Secret, "verify"), exitOK, "VALID")
}

// TestAnInstallationMovesToAnother exports organizations and keys, and imports them into an
// installation where they have other ids.
func TestAnInstallationMovesToAnother(t *testing.T) {
	from, to := launch(t, t.TempDir()), launch(t, t.TempDir())
	first, second := from.newOrg(t), from.newOrg(t)
	good, rotated, other := from.newKey(t, first), from.newKey(t, first), from.newKey(t, second)
	for _, end := range []string{"revoke", "disable"} {
		expect(t, from.command(t, "", "keys", end, from.newKey(t, first).Key.ID), exitOK)
	}
	var again made
	fromJSON(t, from.command(t, "", "keys", "rotate", rotated.Key.ID, "--overlap", "24h", "--json"), &again)

	dir := t.TempDir()
	orgs, keys, ids := filepath.Join(dir, "orgs.json"), filepath.Join(dir, "keys.ndjson"), filepath.Join(dir, "orgs.map")
	listed := from.command(t, "", "orgs", "list", "--json")
	if err := os.WriteFile(orgs, []byte(listed.out), 0o600); err != nil {
		t.Fatal(err)
	}
	expect(t, from.command(t, "", "keys", "export", "-o", keys), exitOK, "exported 3 keys", "disabled=1 expired=0 revoked=1 management=1 overlapping_secrets=1")
	if info, err := os.Stat(keys); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	expect(t, from.command(t, "", "keys", "export"), exitOK, "digest", first, second)

	expect(t, to.command(t, "", "keys", "import", keys), exitRefused, "failed 3")
	expect(t, to.command(t, "", "orgs", "import", orgs, "--map", ids), exitOK, "created 2 organizations, 0 were")
	expect(t, to.command(t, "", "orgs", "import", orgs, "--map", ids), exitOK, "created 0 organizations, 2 were")
	expect(t, to.command(t, "", "keys", "import", keys, "--org-map", ids), exitOK, "imported 3, already there 0, failed 0")
	for _, k := range []made{good, again, other} {
		expect(t, to.command(t, k.Secret, "verify"), exitOK, "VALID")
	}
	expect(t, to.command(t, rotated.Secret, "verify"), exitRefused, "NOT_FOUND")

	// A map that was lost in a crash right after the organizations were made: they are found.
	if err := os.Remove(ids); err != nil {
		t.Fatal(err)
	}
	expect(t, to.command(t, "", "orgs", "import", orgs, "--map", ids), exitOK)
	var here []api.Organization
	if fromJSON(t, to.command(t, "", "orgs", "list", "--json"), &here); len(here) != 2 {
		t.Errorf("there are %d organizations", len(here))
	}
}

// TestABackUpHasTheKeyringIfItIsAskedTo restores with and without it.
func TestABackUpHasTheKeyringIfItIsAskedTo(t *testing.T) {
	r := launch(t, t.TempDir())
	m := r.newKey(t, r.newOrg(t))
	dir, ring := t.TempDir(), filepath.Join(r.data, "keyring")
	without, with := filepath.Join(dir, "without.tar"), filepath.Join(dir, "with.tar")
	r.backUp(t, without)
	expect(t, r.command(t, "", "backup", "--out", with, "--with-keyring", ring), exitOK)
	secret, err := os.ReadFile(ring)
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]bool{without: false, with: true} {
		text, err := os.ReadFile(file)
		if err != nil || bytes.Contains(text, bytes.TrimSpace(secret)) != want {
			t.Errorf("%s: the keyring is in it: %t, %v", file, !want, err)
		}
	}
	other := launch(t, t.TempDir())
	expect(t, r.command(t, "", "backup", "--out", filepath.Join(dir, "other.tar"), "--with-keyring", filepath.Join(other.data, "keyring")), exitUsage, "has the fingerprint")

	data := filepath.Join(dir, "without")
	expect(t, cli(t, "", environ(), "restore", "--from", without, "--data", data, "--confirm"), exitOK, "It needs the keyring")
	refused := begin(t, data)
	<-refused.done
	if !strings.Contains(refused.said.String(), "keyring has the fingerprint") {
		t.Errorf("%s", refused.said)
	}
	data = filepath.Join(dir, "with")
	expect(t, cli(t, "", environ(), "restore", "--from", with, "--data", data, "--confirm"), exitOK)
	again := launch(t, data)
	expect(t, cli(t, m.Secret, environ("KEYTRAIL_URL="+again.url, "KEYTRAIL_KEY="+r.rootKey(t)), "verify"), exitOK, "VALID")
}

// What lies under the name that a file has while it is received is not written to.
func TestWhatIsReceivedIsItsOwnersAlone(t *testing.T) {
	r := launch(t, t.TempDir())
	dir := t.TempDir()
	others := filepath.Join(dir, "others")
	if err := os.WriteFile(others, []byte("theirs"), 0o644); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "out")
	for part, command := range map[string][]string{"": {"backup", "--out", out}, ".": {"keys", "export", "-o", out}, partPath(out, r.url, url.Values{}): {"events", "replay", "-o", out}} {
		if len(part) < 2 {
			part = out + ".part"
		}
		for kind, put := range map[string]func(from, to string) error{"a link": os.Symlink, "a file": os.Link} {
			if err := put(others, part); err != nil {
				t.Fatal(err)
			}
			expect(t, r.command(t, "", command...), exitOK)
			if info, err := os.Lstat(out); err != nil || info.Mode() != 0o600 {
				t.Errorf("%s over %s: %v, %v", command, kind, info, err)
			}
			if text, err := os.ReadFile(others); err != nil || string(text) != "theirs" {
				t.Errorf("%s over %s wrote %d bytes into it, %v", command, kind, len(text), err)
			}
			if err := os.Remove(out); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestARestoredSinkGoesOn: how far it had come is in the back-up.
func TestARestoredSinkGoesOn(t *testing.T) {
	t.Parallel() // it waits more than it computes
	r := launch(t, t.TempDir(), "--sink-files", t.TempDir())
	org := r.newOrg(t)
	before := r.newKey(t, org)
	var made struct{ Sink struct{ ID string } }
	r.call(t, "POST", "/v1/sinks", map[string]any{"name": "all", "type": "file", "from": "beginning", "event_types": []string{"key.created"}, "settings": map[string]any{"path": "all.ndjson"}}, &made)
	until(t, "the sink's checkpoint", func() bool {
		var s struct{ Status struct{ Delivered int } }
		r.call(t, "GET", "/v1/sinks/"+made.Sink.ID, nil, &s)
		return s.Status.Delivered >= 2 // the root key's too
	})
	file, data, files := filepath.Join(t.TempDir(), "ledger.tar"), filepath.Join(t.TempDir(), "data"), t.TempDir()
	r.backUp(t, file)
	expect(t, cli(t, "", environ(), "restore", "--from", file, "--data", data, "--confirm"), exitOK, "sinks")
	r.end(t, syscall.SIGTERM)
	again := restoredOf(t, r, data, "--sink-files", files)
	after := again.newKey(t, org)
	var text []byte
	until(t, "the restored sink forwards", func() bool {
		text, _ = os.ReadFile(filepath.Join(files, "all.ndjson"))
		return strings.Contains(string(text), after.Key.ID)
	})
	if strings.Contains(string(text), before.Key.ID) {
		t.Errorf("the sink began again:\n%s", text)
	}
}
