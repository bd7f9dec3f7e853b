package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// post sends a request without waiting for its answer, which the second function reads.
func post(t testing.TB, url, key, path, body string) (answer func() string) {
	t.Helper()
	c := must(net.Dial("tcp", strings.TrimPrefix(url, "http://")))
	t.Cleanup(func() { _ = c.Close() })
	if _, err := fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		path, key, len(body), body); err != nil {
		t.Fatal(err)
	}
	return func() string {
		a := must(http.ReadResponse(bufio.NewReader(c), nil))
		return string(must(io.ReadAll(a.Body)))
	}
}

// acknowledged is when the ledger last acknowledged an append to a service, in seconds.
func (r *running) acknowledged(t testing.TB) float64 {
	t.Helper()
	res := must(web.Get(r.url + "/metrics"))
	defer res.Body.Close()
	line := regexp.MustCompile(`(?m)^keytrail_ledger_acknowledged_timestamp_seconds (\S+)$`).FindStringSubmatch(string(must(io.ReadAll(res.Body))))
	if line == nil {
		t.Fatal("there is no such metric")
	}
	return must(strconv.ParseFloat(line[1], 64))
}

// TestAServiceThatWasFrozenAnswersFromTheNewState freezes one of two services, revokes a key
// at the other one, and sends requests to the frozen one, which stands still for some
// heartbeats of the ledger. When it goes on, they are there together with the revocation:
// none may be answered from before.
func TestAServiceThatWasFrozenAnswersFromTheNewState(t *testing.T) {
	t.Parallel() // it waits more than it computes
	_, urls := natsProcesses(t, 1)
	r := launch(t, t.TempDir(), "--nats-url", urls)
	frozen := launch(t, t.TempDir(), "--nats-url", urls, "--root-key-file", filepath.Join(r.data, "root.key"), "--keyring", filepath.Join(r.data, "keyring"))
	org := r.newOrg(t)
	for range 3 {
		m := r.newKey(t, org)
		ask := func() (answer func() string) {
			return post(t, frozen.url, r.rootKey(t), "/v1/verify", `{"key":"`+m.Secret+`"}`)
		}
		until(t, "both know the key", func() bool { return strings.Contains(ask()(), `"VALID"`) })
		if err := frozen.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		r.call(t, "POST", "/v1/keys/"+m.Key.ID+"/revoke", map[string]string{}, nil)
		var answers []func() string
		for range 40 {
			answers = append(answers, ask())
		}
		since := r.acknowledged(t)
		until(t, "heartbeats pass", func() bool { return r.acknowledged(t) > since+2 })
		if err := frozen.cmd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		for i, answer := range answers {
			if text := answer(); strings.Contains(text, `"VALID"`) {
				t.Errorf("request %d, which came after the revocation: %s", i, text)
			}
		}
		until(t, "it answers again", func() bool { return strings.Contains(ask()(), `"REVOKED"`) })
	}
}
