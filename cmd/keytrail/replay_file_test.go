package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keytrail/keytrail/eventstore"
)

// withHistory is a service whose trail has both streams, one among the other.
func withHistory(t *testing.T) *running {
	t.Helper()
	r := launch(t, t.TempDir())
	org := r.newOrg(t)
	for range 10 {
		m := r.newKey(t, org)
		expect(t, r.command(t, m.Secret, "verify"), exitOK)
		expect(t, r.command(t, "", "keys", "revoke", m.Key.ID), exitOK)
	}
	return r
}

// replayFile is what a replay wrote, which must have no event twice.
func replayFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for line := range strings.Lines(string(b)) {
		id, _, _ := strings.Cut(line, `"type"`)
		if seen[id] {
			t.Errorf("twice: %s", line)
		}
		seen[id] = true
	}
	return string(b)
}

// TestAReplayGoesOnWhereItWasKilled: a kill leaves some beginning of the replay, cut off
// anywhere. Its end is what came to the trail since, the requests themselves among it.
func TestAReplayGoesOnWhereItWasKilled(t *testing.T) {
	r := withHistory(t)
	file := filepath.Join(t.TempDir(), "trail")
	expect(t, r.command(t, "", "events", "replay", "--to-file", file), exitOK, "is whole")
	whole := replayFile(t, file)
	part := partPath(file, r.url, url.Values{})
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 12 {
		cut := random.IntN(len(whole) + 1)
		if i == 0 {
			cut = len(whole)
		}
		if err := os.WriteFile(part, []byte(whole[:cut]), 0o600); err != nil {
			t.Fatal(err)
		}
		got := r.command(t, "", "events", "replay", "--to-file", file)
		expect(t, got, exitOK, "is whole")
		if n := strings.Count(whole[:cut], "\n"); n > 0 && !strings.Contains(got.err, fmt.Sprintf("going on after the %d events", n)) {
			t.Errorf("cut at %d: %s", cut, got.err)
		}
		if now := replayFile(t, file); !strings.HasPrefix(now, whole) {
			t.Errorf("cut at %d of %d bytes it is another replay, of %d bytes", cut, len(whole), len(now))
		}
		if _, err := os.Stat(part); err == nil {
			t.Error("the part is still there")
		}
	}
	if err := os.WriteFile(part, []byte(`{"specversion":"1.0"}`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	expect(t, r.command(t, "", "events", "replay", "--to-file", file), exitUsage, "remove it")
}

// TestAReplayOutlastsBrokenConnections: each answer breaks off after some bytes, more than the
// longest event has.
func TestAReplayOutlastsBrokenConnections(t *testing.T) {
	t.Parallel() // it waits more than it computes
	r := withHistory(t)
	random := rand.New(rand.NewPCG(3, 4))
	breaks := 0
	breaking := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		forward, _ := http.NewRequestWithContext(q.Context(), q.Method, r.url+q.URL.String(), nil)
		forward.Header = q.Header
		answer, err := http.DefaultClient.Do(forward)
		if err != nil {
			t.Error(err)
			return
		}
		defer answer.Body.Close()
		w.WriteHeader(answer.StatusCode)
		if n, _ := io.CopyN(w, answer.Body, int64(8000+random.IntN(2000))); n > 0 {
			if rest, _ := io.ReadAll(io.LimitReader(answer.Body, 1)); len(rest) > 0 {
				_ = http.NewResponseController(w).Flush()
				breaks++
				panic(http.ErrAbortHandler)
			}
		}
	}))
	defer breaking.Close()
	direct, broken := filepath.Join(t.TempDir(), "direct"), filepath.Join(t.TempDir(), "broken")
	expect(t, r.command(t, "", "events", "replay", "-o", direct), exitOK)
	expect(t, cli(t, "", environ("KEYTRAIL_URL="+breaking.URL, "KEYTRAIL_KEY="+r.rootKey(t)), "events", "replay", "-o", broken, "--progress"), exitOK, "is whole", "replaying")
	if whole := replayFile(t, direct); !strings.HasPrefix(replayFile(t, broken), whole) || breaks < 2 {
		t.Errorf("after %d breaks it is another replay", breaks)
	}
}

// TestAnInterruptedReplayKeepsWhatItHas: whole lines, and a beginning of one that is dropped when
// the same command goes on. Until it has ended no other one writes to the file.
func TestAnInterruptedReplayKeepsWhatItHas(t *testing.T) {
	const line = `{"specversion":"1.0","id":"i","source":"/keytrail/uses","position":"17.3"}` + "\n"
	cursors := make(chan string, 2)
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cursors <- r.URL.Query().Get("cursor")
		if r.URL.Query().Has("cursor") {
			return
		}
		_, _ = io.WriteString(w, line+line[:20])
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	defer service.Close()
	file := filepath.Join(t.TempDir(), "trail")
	part := partPath(file, service.URL, url.Values{})
	env := environ("KEYTRAIL_URL="+service.URL, "KEYTRAIL_KEY=x")
	cmd := exec.CommandContext(t.Context(), binary, "events", "replay", "--to-file", file)
	var said bytes.Buffer
	cmd.Env, cmd.Stderr = env, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-cursors
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if b, _ := os.ReadFile(part); len(b) == len(line)+20 {
			break
		}
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal("nothing was written")
		}
	}
	expect(t, cli(t, "", env, "events", "replay", "--to-file", file), exitUsage, "another replay is writing "+part, "wait until")
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if b, _ := os.ReadFile(part); cmd.ProcessState.ExitCode() != exitInterrupted || string(b) != line || !strings.Contains(said.String(), "goes on there") {
		t.Errorf("exit code %d, %q, %s", cmd.ProcessState.ExitCode(), b, said.String())
	}
	expect(t, cli(t, "", env, "events", "replay", "--to-file", file), exitOK, "going on after the 1 events", "is whole: 1 events")
	if cursor, err := eventstore.ParseCursor(<-cursors); err != nil || cursor.At != [2]eventstore.Position{0, 17} || cursor.Index != 3 {
		t.Errorf("it goes on at %+v, %v", cursor, err)
	}
}

// TestEventsAreListedInBothOrders, filtered and up to a limit.
func TestEventsAreListedInBothOrders(t *testing.T) {
	r := withHistory(t)
	expect(t, r.command(t, "", "events", "list", "--limit", "1"), exitOK, "keyring.set")
	newest := r.command(t, "", "events", "list", "--order", "desc", "--type", "key.revoked,key.created", "--limit", "3")
	if lines := strings.Split(newest.out, "\n"); len(lines) != 4 || !strings.Contains(lines[0], "key.revoked") || !strings.Contains(lines[1], "key.created") {
		t.Errorf("%+v", newest)
	}
	if valid := r.command(t, "", "events", "list", "--code", "VALID", "--type", "key.used", "--order", "desc", "--all"); strings.Count(valid.out, "code=VALID") < 10 || strings.Contains(valid.out, "key.created") {
		t.Errorf("%+v", valid)
	}
	expect(t, r.command(t, "", "events", "list", "--ip", "2001:db8::/32"), exitOK)
	expect(t, r.command(t, "", "events", "list", "--ip", "everywhere"), exitRefused, "ip")
	expect(t, r.command(t, "", "events", "list", "--limit", "0"), exitUsage, "--all")
	if more := r.command(t, "", "events", "list", "--type", "key.revoked", "--limit", "9"); !strings.Contains(more.err, "more events than these 9") {
		t.Errorf("%+v", more)
	}
	if whole := r.command(t, "", "events", "list", "--type", "key.revoked", "--limit", "10"); strings.Count(whole.out, "key.revoked") != 10 || whole.err != "" {
		t.Errorf("%+v", whole)
	}
	expect(t, r.command(t, "", "events", "list", "--order", "up"), exitRefused, "order")
}

// TestAReplayDoesNotNameAnotherOnesFile: one that was removed meanwhile, or removed and made again.
func TestAReplayDoesNotNameAnotherOnesFile(t *testing.T) {
	var part string
	service := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		if err := errors.Join(os.Remove(part), os.WriteFile(part, nil, 0o600)); err != nil {
			t.Error(err)
		}
	}))
	file := filepath.Join(t.TempDir(), "trail")
	part = partPath(file, "http://"+service.Listener.Addr().String(), url.Values{})
	service.Start()
	defer service.Close()
	expect(t, cli(t, "", environ("KEYTRAIL_URL="+service.URL, "KEYTRAIL_KEY=x"), "events", "replay", "--to-file", file), exitUsage, part+" was removed", "again")
	if _, err := os.Stat(file); err == nil {
		t.Error("it has the name")
	}
}
