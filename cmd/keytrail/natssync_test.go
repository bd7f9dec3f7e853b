package main

import (
	"regexp"
	"strings"
	"syscall"
	"testing"
)

var toldOfSync = regexp.MustCompile(`syncs? each message to disk|acknowledges before it syncs`)

// TestWhetherNATSSyncsIsTold starts the service on servers that sync, do not, and cannot be
// asked.
func TestWhetherNATSSyncsIsTold(t *testing.T) {
	servers, urls := natsProcesses(t, 1)
	nats, data := servers[0], t.TempDir()
	said := func(monitors ...string) string {
		t.Helper()
		args := []string{"--nats-url", urls}
		for _, m := range monitors {
			args = append(args, "--nats-monitor-url", m)
		}
		r := launch(t, data, args...)
		until(t, "each server is told of", func() bool {
			return len(toldOfSync.FindAllString(r.said.String(), -1)) == max(1, len(monitors))
		})
		r.end(t, syscall.SIGTERM)
		return r.said.String()
	}
	const always, not, unknown = "syncs each message to disk before it acknowledges it", "acknowledges before it syncs", "it is not known whether"
	if text := said(); !strings.Contains(text, unknown) {
		t.Error(text)
	}
	if text := said(nats.monitorURL()); !strings.Contains(text, always) || strings.Contains(text, not) || strings.Contains(text, unknown) {
		t.Error(text)
	}
	nats.end(t, syscall.SIGTERM)
	nats.Unsynced = true
	nats.start(t)
	text := said(nats.monitorURL(), "http://u:hidden@127.0.0.1:1")
	if !strings.Contains(text, not) || !strings.Contains(text, "cannot be asked") || strings.Contains(text, always) || strings.Contains(text, "hidden") {
		t.Error(text)
	}
}
