package main

import (
	"io"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// forwards reports whether a process holds the lease of sinks.
func (r *running) forwards(t testing.TB) bool {
	t.Helper()
	res, err := web.Get(r.url + "/metrics")
	if err != nil {
		return false // it was killed
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return err == nil && strings.Contains(string(text), "\nkeytrail_sinks_leader 1\n")
}

// TestSinksAreTakenOver when the process that forwards stops, is killed, or is frozen; one that is
// thawed does no harm.
func TestSinksAreTakenOver(t *testing.T) {
	t.Parallel() // it waits more than it computes
	_, urls := natsCluster(t, 3)
	first := launch(t, t.TempDir(), "--nats-url", urls, "--replicas", "3", "--sink-networks", "127.0.0.0/8")
	nodes := []*running{first}
	for range 2 {
		nodes = append(nodes, launch(t, t.TempDir(), "--nats-url", urls, "--replicas", "3", "--sink-networks", "127.0.0.0/8",
			"--root-key-file", filepath.Join(first.data, "root.key"), "--keyring", filepath.Join(first.data, "keyring")))
	}
	root := first.rootKey(t)
	org := first.newOrg(t)
	c := newCapricious(t)
	c.beKind()
	first.newSink(t, org, c.URL, map[string]any{"event_types": []string{"key.created"}})
	holder := func() (h *running) {
		until(t, "one process forwards", func() bool {
			i := slices.IndexFunc(nodes, func(r *running) bool { return r.forwards(t) })
			if i >= 0 {
				h = nodes[i]
			}
			return i >= 0
		})
		return h
	}
	created := 0
	createAt := func(r *running) {
		t.Helper()
		for range 5 {
			if err := send(t.Context(), "POST", r.url+"/v1/keys", root, "", map[string]any{"org_id": org, "name": "a key"}, nil); err != nil {
				t.Fatal(err)
			}
			created++
		}
	}
	arrived := func(after string) {
		t.Helper()
		until(t, "all events have arrived "+after, func() bool { c.mu.Lock(); defer c.mu.Unlock(); return len(c.order) == created })
	}
	without := func(gone *running) {
		nodes = slices.DeleteFunc(nodes, func(r *running) bool { return r == gone })
	}
	createAt(first)
	arrived("at first")

	h := holder()
	h.cmd.Process.Signal(syscall.SIGSTOP)
	without(h)
	createAt(nodes[0])
	arrived("though the holder is frozen")
	h.cmd.Process.Signal(syscall.SIGCONT)
	until(t, "the thawed one does not forward", func() bool { return !h.forwards(t) })
	createAt(nodes[0])
	arrived("after the former holder was thawed")
	nodes = append(nodes, h)

	h = holder()
	without(h)
	h.end(t, syscall.SIGKILL)
	createAt(nodes[0])
	arrived("though the holder was killed")

	h = holder()
	without(h)
	createAt(nodes[0])
	h.end(t, syscall.SIGTERM)
	createAt(nodes[0])
	arrived("though the holder has stopped")
	if len(nodes) != 1 || holder() != nodes[0] {
		t.Errorf("%d processes are left", len(nodes))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	t.Logf("%d events, %d of them once more", len(c.order), c.taken-len(c.order))
}
