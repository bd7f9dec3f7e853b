package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestTheFirstStartMakesARootKeyAndSaysWhatToTry(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	r := launch(t, data)
	for path, mode := range map[string]os.FileMode{data: 0o700 | os.ModeDir, filepath.Join(data, "root.key"): 0o600} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != mode {
			t.Errorf("%s has mode %v, not %v", path, info.Mode(), mode)
		}
	}
	line := regexp.MustCompile(`(?m)^  try: keytrail (.*)$`).FindStringSubmatch(r.said.String())
	if line == nil || !strings.Contains(r.said.String(), filepath.Join(data, "root.key")) {
		t.Fatalf("no line to try, or no place of the root key: %s", r.said)
	}
	expect(t, cli(t, "", environ(), strings.Fields(line[1])...), exitOK, "key_", "the whole installation", "*")
	if strings.Contains(r.said.String(), r.rootKey(t)) {
		t.Error("the root secret was printed")
	}
}

func TestASecondProcessOnTheSameDirectoryIsRefused(t *testing.T) {
	data := t.TempDir()
	r := launch(t, data)
	second := begin(t, data)
	select {
	case <-second.done:
	case <-time.After(30 * time.Second):
		t.Fatal("the second process runs")
	}
	if second.cmd.ProcessState.ExitCode() == 0 || !strings.Contains(second.said.String(), "another process is using "+data) {
		t.Errorf("exit code %d: %s", second.cmd.ProcessState.ExitCode(), second.said)
	}
	r.newOrg(t) // the first is none the worse
}

func TestARestartKeepsEverything(t *testing.T) {
	r := launch(t, t.TempDir())
	root, org := r.rootKey(t), r.newOrg(t)
	m := r.newKey(t, org)
	if code := r.end(t, syscall.SIGTERM); code != 0 {
		t.Fatalf("exit code %d: %s", code, r.said)
	}
	r = launch(t, r.data)
	if r.rootKey(t) != root {
		t.Error("the root key changed")
	}
	if got := r.command(t, m.Secret, "verify"); got.code != 0 {
		t.Errorf("verify: %+v", got)
	}
}

// A root key that is there already may be another ledger's only one, or what a crash left
// between the file and the event.
func TestARootKeyIsNeverOverwritten(t *testing.T) {
	data := t.TempDir()
	if err := os.WriteFile(filepath.Join(data, "root.key"), []byte("another ledger's\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := launch(t, data)
	kept, err := filepath.Glob(filepath.Join(data, "root.key.before-*"))
	if err != nil || len(kept) != 1 {
		t.Fatalf("kept %v, %v", kept, err)
	}
	if b, _ := os.ReadFile(kept[0]); string(b) != "another ledger's\n" {
		t.Errorf("kept %q", b)
	}
	r.newOrg(t)
}

func TestAnUnknownSettingIsRefused(t *testing.T) {
	got := cli(t, "", environ("KEYTRAIL_LISTN=127.0.0.1:0"), "serve", "--data", t.TempDir(), "--listen", "127.0.0.1:0")
	if got.code != exitUsage || !strings.Contains(got.err, "KEYTRAIL_LISTN") {
		t.Errorf("%+v", got)
	}
}

func TestASettingComesFromTheEnvironment(t *testing.T) {
	got := cli(t, "", environ("KEYTRAIL_USES=sometimes"), "serve", "--data", t.TempDir())
	if got.code == 0 || !strings.Contains(got.err, "durable or relaxed") {
		t.Errorf("%+v", got)
	}
}

// TestStoppingUnderLoadLosesNoUse stops the service while it verifies: whoever got an
// answer is on the ledger once, whichever way uses are recorded, and nobody gets half one.
func TestStoppingUnderLoadLosesNoUse(t *testing.T) {
	for _, uses := range []string{"durable", "relaxed"} {
		t.Run(uses, func(t *testing.T) {
			r := launch(t, t.TempDir(), "--uses", uses)
			root := r.rootKey(t)
			m := r.newKey(t, r.newOrg(t))
			answered := make(chan string, 1<<16)
			enough := make(chan struct{})
			var once sync.Once
			var workers sync.WaitGroup
			for w := range 16 {
				workers.Go(func() {
					for i := 0; ; i++ {
						id := fmt.Sprintf("w%d-%d", w, i)
						err := send(context.Background(), "POST", r.url+"/v1/verify", root, id, map[string]string{"key": m.Secret}, nil)
						if errors.Is(err, io.ErrUnexpectedEOF) {
							t.Errorf("an answer was cut: %v", err)
						}
						if err != nil {
							return // it stopped taking requests
						}
						answered <- id
						if i == 100 {
							once.Do(func() { close(enough) })
						}
					}
				})
			}
			<-enough
			if code := r.end(t, syscall.SIGTERM); code != 0 {
				t.Errorf("exit code %d: %s", code, r.said)
			}
			workers.Wait()
			close(answered)
			recorded := launch(t, r.data).uses(t)
			for id := range answered {
				if recorded[use{id, m.Key.ID}] != 1 {
					t.Errorf("%s was answered and is on the ledger %d times", id, recorded[use{id, m.Key.ID}])
				}
			}
		})
	}
}

func TestRateLimitsSurviveARestart(t *testing.T) {
	r := launch(t, t.TempDir())
	var m made
	r.call(t, "POST", "/v1/keys", map[string]any{"org_id": r.newOrg(t), "name": "limited",
		"rate_limits": []map[string]any{{"limit": 3, "window": "720h"}}}, &m)
	for range 2 {
		expect(t, r.command(t, m.Secret, "verify"), exitOK, "VALID")
	}
	r.end(t, syscall.SIGKILL)
	r = launch(t, r.data)
	expect(t, r.command(t, m.Secret, "verify"), exitOK, "VALID")
	expect(t, r.command(t, m.Secret, "verify"), exitRefused, "RATE_LIMITED")
}

// TestStoppingCutsNoRequestOff stops the service while a request is half sent: it is still
// taken in, decided, recorded and answered.
func TestStoppingCutsNoRequestOff(t *testing.T) {
	r := launch(t, t.TempDir())
	m := r.newKey(t, r.newOrg(t))
	address := strings.TrimPrefix(r.url, "http://")
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	body := fmt.Sprintf(`{"key":%q}`, m.Secret)
	fmt.Fprintf(conn, "POST /v1/verify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nX-Request-Id: late\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", r.rootKey(t), len(body))
	answers := bufio.NewReader(conn)
	if line, err := answers.ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
		t.Fatalf("%q, %v", line, err)
	}
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	until(t, "it takes no new connections", func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
	if _, err := conn.Write([]byte(body)); err != nil {
		t.Fatal(err)
	}
	_, _ = answers.ReadString('\n') // the end of 100 Continue
	res, err := http.ReadResponse(answers, nil)
	if err != nil {
		t.Fatalf("the request was cut off: %v", err)
	}
	text, err := io.ReadAll(res.Body)
	if err != nil || !strings.Contains(string(text), `"code":"VALID"`) {
		t.Errorf("%s: %s, %v", res.Status, text, err)
	}
	<-r.done
	if code := r.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d: %s", code, r.said)
	}
	if n := launch(t, r.data).uses(t)[use{"late", m.Key.ID}]; n != 1 {
		t.Errorf("its use is on the ledger %d times", n)
	}
}

// TestAStartThatWaitsSaysSo starts the service before the server that it depends on: it
// lives, serves nothing yet, and goes on by itself when the server is there.
func TestAStartThatWaitsSaysSo(t *testing.T) {
	natsPort, port := freePort(t), freePort(t)
	url := fmt.Sprintf("http://127.0.0.1:%d", port)
	r := begin(t, t.TempDir(), "--nats-url", fmt.Sprintf("nats://127.0.0.1:%d", natsPort), "--listen", fmt.Sprintf("127.0.0.1:%d", port))
	var live struct{ Status string }
	until(t, "it lives", func() bool {
		return send(t.Context(), "GET", url+"/livez", "", "", nil, &live) == nil && live.Status == "live"
	})
	for _, path := range []string{"/readyz", "/v1/keys"} {
		res, err := web.Get(url + path)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if res.StatusCode != 503 || res.Header.Get("Retry-After") == "" || !strings.Contains(string(text), `"code":"starting"`) {
			t.Errorf("%s: %s %s", path, res.Status, text)
		}
	}
	s := natsServer(t, natsPort)
	until(t, "it is ready", func() bool { return send(t.Context(), "GET", url+"/readyz", "", "", nil, nil) == nil })
	r.url = url
	r.newOrg(t)
	if code := r.end(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d: %s", code, r.said)
	}
	s.Shutdown()
	again := begin(t, r.data, "--nats-url", s.ClientURL(), "--listen", fmt.Sprintf("127.0.0.1:%d", port))
	until(t, "it lives again", func() bool { return send(t.Context(), "GET", url+"/livez", "", "", nil, nil) == nil })
	if code := again.end(t, syscall.SIGTERM); code != 0 {
		t.Errorf("stopped while it waited, exit code %d: %s", code, again.said)
	}
}

// TestAFullDiskIsRefusedInGoodOrder runs the service with less space than it wants.
func TestAFullDiskIsRefusedInGoodOrder(t *testing.T) {
	for _, uses := range []string{"durable", "relaxed"} {
		r := launch(t, t.TempDir())
		m := r.newKey(t, r.newOrg(t))
		r.end(t, syscall.SIGTERM)
		r = launch(t, r.data, "--uses", uses, "--min-free", fmt.Sprint(uint64(1)<<60))
		var refused *refusedError
		until(t, "the space was looked at", func() bool {
			return errors.As(send(t.Context(), "GET", r.url+"/readyz", "", "", nil, nil), &refused)
		})
		if !strings.Contains(refused.text, `"suspended":"storage_full"`) {
			t.Errorf("readyz says %s", refused.text)
		}
		for path, body := range map[string]any{"/v1/verify": map[string]string{"key": m.Secret}, "/v1/keys/" + m.Key.ID + "/revoke": map[string]any{}} {
			err := send(t.Context(), "POST", r.url+path, r.rootKey(t), "", body, nil)
			if !errors.As(err, &refused) || !strings.Contains(refused.text, `"code":"storage_full"`) || !strings.Contains(refused.text, "503") {
				t.Errorf("%s, %s: %v", uses, path, err)
			}
		}
		r.end(t, syscall.SIGTERM)
		expect(t, launch(t, r.data).command(t, m.Secret, "verify"), exitOK, "VALID")
	}
}
