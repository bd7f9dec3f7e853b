package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var crashRounds = flag.Int("crash.rounds", 3, "how often the crash test kills the service")

// binary is the program under test, built once.
var binary string

func TestMain(m *testing.M) {
	if options := os.Getenv(natsVariable); options != "" {
		natsMain(options)
	}
	flag.Parse()
	dir, err := os.MkdirTemp("", "keytrail-test")
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

// environ is this process's environment without Keytrail's settings, and with extra.
func environ(extra ...string) []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "KEYTRAIL_") {
			env = append(env, e)
		}
	}
	return append(env, extra...)
}

// A safeBuffer takes what a process says while a test reads it.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// A running is the service as a process of its own.
type running struct {
	cmd  *exec.Cmd
	data string
	url  string
	said *safeBuffer
	done chan struct{} // closed when the process has ended
}

var readyLine = regexp.MustCompile(`ready on (https?://[0-9.:]+)`)

// launch starts serve on data and returns when it says that it is ready.
func launch(t testing.TB, data string, args ...string) *running {
	t.Helper()
	r := begin(t, data, args...)
	r.untilReady(t)
	return r
}

// untilReady returns when serve says that it is ready.
func (r *running) untilReady(t testing.TB) {
	t.Helper()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if m := readyLine.FindStringSubmatch(r.said.String()); m != nil {
			r.url = m[1]
			return
		}
		select {
		case <-r.done:
			t.Fatalf("serve ended before it was ready: %s", r.said)
		case <-deadline.C:
			t.Fatalf("serve is not ready: %s", r.said)
		case <-tick.C:
		}
	}
}

// begin starts serve on data and does not wait.
func begin(t testing.TB, data string, args ...string) *running {
	t.Helper()
	return beginWith(t, data, nil, args...)
}

// beginWith is begin for a command that runs the rest of its arguments.
func beginWith(t testing.TB, data string, wrapper []string, args ...string) *running {
	t.Helper()
	r := &running{data: data, said: &safeBuffer{}, done: make(chan struct{})}
	command := slices.Concat(wrapper, []string{binary, "serve", "--data", data, "--listen", "127.0.0.1:0"}, args)
	r.cmd = exec.Command(command[0], command[1:]...)
	r.cmd.Env, r.cmd.Stdout, r.cmd.Stderr = environ(), r.said, r.said
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = r.cmd.Wait(); close(r.done) }()
	t.Cleanup(func() {
		_ = r.cmd.Process.Kill()
		<-r.done
		removeStaging(data)
	})
	return r
}

// removeStaging removes what a killed serve left in memory: no next start on data does so.
func removeStaging(data string) {
	staging, err := os.Readlink(filepath.Join(data, "ledger", "jetstream", "$G", "streams", "KEYTRAIL_EVENTS", "batches"))
	if err == nil {
		_ = os.RemoveAll(staging)
	}
}

// end sends sig and returns the exit code, -1 if the signal itself ended the process.
func (r *running) end(t testing.TB, sig syscall.Signal) int {
	t.Helper()
	if err := r.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	select {
	case <-r.done:
	case <-time.After(time.Minute):
		t.Fatalf("serve did not end after %v: %s", sig, r.said)
	}
	return r.cmd.ProcessState.ExitCode()
}

func (r *running) rootKey(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(r.data, "root.key"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

var web = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}

// ndjson is a body that is sent as it stands.
type ndjson []byte

// send makes one API request; a status of 300 and above is an error.
func send(ctx context.Context, method, url, key, requestID string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	if lines, ok := in.(ndjson); ok {
		body = lines
	}
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if in == nil {
		req.Body = http.NoBody
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+key)
	if requestID != "" {
		req.Header.Set("X-Request-Id", requestID)
	}
	res, err := web.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode >= 300 {
		return &refusedError{fmt.Sprintf("%s %s: %s: %s", method, url, res.Status, text)}
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(text, out)
}

// A refusedError is an answer that says no; a killed service gives none.
type refusedError struct{ text string }

func (e *refusedError) Error() string { return e.text }

func (r *running) call(t testing.TB, method, path string, in, out any) {
	t.Helper()
	if err := send(t.Context(), method, r.url+path, r.rootKey(t), "", in, out); err != nil {
		t.Fatal(err)
	}
}

func (r *running) newOrg(t testing.TB) string {
	t.Helper()
	var o struct{ ID string }
	r.call(t, "POST", "/v1/organizations", map[string]string{"name": "Acme"}, &o)
	return o.ID
}

type made struct {
	Key    struct{ ID, Status string }
	Secret string
}

func (r *running) newKey(t testing.TB, org string) made {
	t.Helper()
	var m made
	r.call(t, "POST", "/v1/keys", map[string]any{"org_id": org, "name": "a key"}, &m)
	return m
}

// A use is what one verification leaves on the ledger. The caller's own management key is
// recorded under the same request id, as another key's use.
type use struct{ request, key string }

// uses counts the uses on the ledger.
func (r *running) uses(t testing.TB) map[use]int {
	t.Helper()
	req, _ := http.NewRequestWithContext(t.Context(), "GET", r.url+"/v1/events?type=key.used", nil)
	req.Header.Set("Authorization", "Bearer "+r.rootKey(t))
	req.Header.Set("Accept", "application/x-ndjson")
	res, err := (&http.Client{}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Fatalf("replay: %s", res.Status)
	}
	uses := map[use]int{}
	for d := json.NewDecoder(res.Body); ; {
		var e struct {
			Data struct {
				RequestID string `json:"request_id"`
				KeyID     string `json:"key_id"`
			}
		}
		if err := d.Decode(&e); err == io.EOF {
			return uses
		} else if err != nil {
			t.Fatal(err)
		}
		uses[use{e.Data.RequestID, e.Data.KeyID}]++
	}
}

// A told is what a command of the command line did.
type told struct {
	code     int
	out, err string
}

// command runs the command line against r as the root key, with input on stdin.
func (r *running) command(t testing.TB, input string, args ...string) told {
	t.Helper()
	return cli(t, input, environ("KEYTRAIL_URL="+r.url, "KEYTRAIL_KEY="+r.rootKey(t)), args...)
}

func cli(t testing.TB, input string, env []string, args ...string) told {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary, args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Env, cmd.Dir = strings.NewReader(input), &out, &errs, env, t.TempDir()
	err := cmd.Run()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return told{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }
