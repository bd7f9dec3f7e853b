package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// says tells whether a request is refused with the text.
func (r *running) says(t testing.TB, text, method, path string, in any) bool {
	t.Helper()
	var refused *refusedError
	return errors.As(send(t.Context(), method, r.url+path, r.rootKey(t), "", in, nil), &refused) && strings.Contains(refused.text, text)
}

// outcome is what a verification answers, "" if it is refused.
func (r *running) outcome(t testing.TB, secret string) string {
	t.Helper()
	var v struct{ Code string }
	_ = send(t.Context(), "POST", r.url+"/v1/verify", r.rootKey(t), "", map[string]string{"key": secret}, &v)
	return v.Code
}

// TestAFrozenLedgerClosesVerification freezes the server of a service that answers before a
// use is recorded: it must not go on answering from what it has read.
func TestAFrozenLedgerClosesVerification(t *testing.T) {
	t.Parallel() // it waits more than it computes
	servers, urls := natsProcesses(t, 1)
	r := launch(t, t.TempDir(), "--nats-url", urls, "--uses", "relaxed")
	m := r.newKey(t, r.newOrg(t))
	if got := r.outcome(t, m.Secret); got != "VALID" {
		t.Fatal(got)
	}
	servers[0].freeze(t)
	until(t, "verification is refused", func() bool {
		return r.says(t, `"code":"ledger_unavailable"`, "POST", "/v1/verify", map[string]string{"key": m.Secret})
	})
	until(t, "it is not ready", func() bool { return r.says(t, "no append was acknowledged", "GET", "/readyz", nil) })
	servers[0].thaw(t)
	until(t, "verification is answered", func() bool { return r.outcome(t, m.Secret) == "VALID" })
	until(t, "it is ready", func() bool { return send(t.Context(), "GET", r.url+"/readyz", "", "", nil, nil) == nil })
}

// leader is the server that leads a stream, "" while there is none.
func leader(t testing.TB, js jetstream.JetStream, stream string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	s, err := js.Stream(ctx, stream)
	if err != nil || s.CachedInfo().Cluster == nil {
		return ""
	}
	return s.CachedInfo().Cluster.Leader
}

// TestALostLeaderIsWaitedFor ends the server that leads the events, first in good order and
// then at once, and sends a request at that moment: each is carried out, none refused.
func TestALostLeaderIsWaitedFor(t *testing.T) {
	t.Parallel() // it waits more than it computes
	servers, urls := natsProcesses(t, 3)
	r := launch(t, t.TempDir(), "--nats-url", urls, "--replicas", "3")
	org, js := r.newOrg(t), watcher(t, urls)
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		lost := named(t, servers, leader(t, js, "KEYTRAIL_EVENTS"))
		lost.end(t, signal)
		begun := time.Now()
		m := r.newKey(t, org)
		t.Logf("after %v of its leader a key took %v", signal, time.Since(begun))
		if got := r.outcome(t, m.Secret); got != "VALID" && got != "NOT_FOUND" { // the read model may follow a moment later
			t.Errorf("after %v it answers %q", signal, got)
		}
		until(t, "the new key is good", func() bool { return r.outcome(t, m.Secret) == "VALID" })
		lost.start(t)
		until(t, "the server is back", func() bool {
			s, err := js.Stream(t.Context(), "KEYTRAIL_EVENTS")
			if err != nil || s.CachedInfo().Cluster.Leader == "" {
				return false
			}
			for _, p := range s.CachedInfo().Cluster.Replicas {
				if !p.Current {
					return false
				}
			}
			return len(s.CachedInfo().Cluster.Replicas) == 2
		})
	}
}

// TestALostQuorumIsNotReady kills two of three servers. The third goes on answering
// questions, which must not count.
func TestALostQuorumIsNotReady(t *testing.T) {
	t.Parallel() // it waits more than it computes
	servers, urls := natsProcesses(t, 3)
	r := launch(t, t.TempDir(), "--nats-url", urls, "--replicas", "3", "--uses", "relaxed")
	m := r.newKey(t, r.newOrg(t))
	kept := named(t, servers, leader(t, watcher(t, urls), "KEYTRAIL_EVENTS"))
	for _, p := range servers {
		if p != kept {
			p.end(t, syscall.SIGKILL)
		}
	}
	ready := func() bool { return send(t.Context(), "GET", r.url+"/readyz", "", "", nil, nil) == nil }
	until(t, "it is not ready", func() bool { return r.says(t, "no append was acknowledged", "GET", "/readyz", nil) })
	until(t, "verification is refused", func() bool { return r.outcome(t, m.Secret) == "" })
	if ready() {
		t.Error("it is ready without a quorum")
	}
	for _, p := range servers {
		if p != kept {
			p.start(t)
		}
	}
	until(t, "verification is answered", func() bool { return r.outcome(t, m.Secret) == "VALID" })
	until(t, "it is ready", ready)
}

// TestOneRequestOnThreeNodesIsNotBusy sends the same creation through three connections at
// once, many times: one wins, the others find what it wrote.
func TestOneRequestOnThreeNodesIsNotBusy(t *testing.T) {
	_, urls := natsProcesses(t, 3)
	var nodes []*commands.Handler
	for _, url := range strings.Split(urls, ",") {
		nc := must(eventstore.Connect(eventstore.ConnectOptions{URL: url}, discard()))
		defer nc.Close()
		l := must(eventstore.Open(t.Context(), nc, eventstore.Options{Replicas: 3}))
		nodes = append(nodes, commands.New(l, commands.Options{}))
	}
	by := commands.Request{By: domain.System}
	org := must(nodes[0].CreateOrganization(t.Context(), commands.CreateOrganization{Request: by, Name: "Acme"})).Organization.ID
	for round := range 60 {
		c := commands.CreateKey{Request: by, Org: org, Settings: domain.Settings{Name: "once"}}
		c.CommandID, c.Fingerprint = fmt.Sprint("round ", round), "the same"
		var secrets atomic.Int32
		var all sync.WaitGroup
		for _, h := range nodes {
			all.Go(func() {
				k, err := h.CreateKey(t.Context(), c)
				if err != nil {
					t.Error(err)
				}
				if k.Secret.Reveal() != "" {
					secrets.Add(1)
				}
			})
		}
		all.Wait()
		if n := secrets.Load(); n != 1 {
			t.Errorf("%d nodes gave a secret out", n)
		}
	}
}

// metaLeader is the server that places consumers.
func metaLeader(t testing.TB, p *natsProcess) string {
	t.Helper()
	answer, err := web.Get(p.monitorURL() + "/jsz")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var j struct {
		Meta struct{ Leader string } `json:"meta_cluster"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&j); err != nil {
		t.Fatal(err)
	}
	return j.Meta.Leader
}

// hosts counts the consumers of the events that a server hosts.
func hosts(t testing.TB, js jetstream.JetStream, server string) (n int) {
	t.Helper()
	all := must(js.Stream(t.Context(), "KEYTRAIL_EVENTS")).ListConsumers(t.Context())
	for c := range all.Info() {
		if c.Cluster != nil && c.Cluster.Leader == server {
			n++
		}
	}
	return n
}

// TestARevocationReachesAServiceWhoseReaderIsFrozen freezes the server that hosts only one
// service's reader, and places consumers; everything else goes on without it. A revocation
// through the other service is in force at the first one, or nothing is answered there.
func TestARevocationReachesAServiceWhoseReaderIsFrozen(t *testing.T) {
	t.Parallel() // it waits more than it computes
	servers, urls := natsProcesses(t, 3)
	js := watcher(t, urls)
	frozen := named(t, servers, metaLeader(t, servers[0]))
	other := servers[0]
	if other == frozen {
		other = servers[1]
	}
	a := launch(t, t.TempDir(), "--nats-url", other.url(), "--replicas", "3")
	for _, stream := range []string{"KEYTRAIL_EVENTS", "KEYTRAIL_USES", "KEYTRAIL_HEARTBEATS"} {
		until(t, "the leader of "+stream+" is elsewhere", func() bool {
			if leader(t, js, stream) == other.Name {
				return true
			}
			_, _ = js.Conn().Request("$JS.API.STREAM.LEADER.STEPDOWN."+stream, []byte(`{"placement":{"preferred":"`+other.Name+`"}}`), time.Second)
			return false
		})
	}
	m := a.newKey(t, a.newOrg(t))
	var b *running
	until(t, "the second service's reader is on the server to freeze", func() bool {
		before := hosts(t, js, frozen.Name)
		b = launch(t, t.TempDir(), "--nats-url", other.url(), "--replicas", "3", "--keyring", filepath.Join(a.data, "keyring"))
		if hosts(t, js, frozen.Name) > before {
			return true
		}
		b.end(t, syscall.SIGTERM)
		return false
	})
	root := a.rootKey(t)
	verify := func() string {
		var v struct{ Code string }
		_ = send(t.Context(), "POST", b.url+"/v1/verify", root, "", map[string]string{"key": m.Secret}, &v)
		return v.Code
	}
	if got := verify(); got != "VALID" {
		t.Fatal(got)
	}
	frozen.freeze(t)
	until(t, "the key is revoked", func() bool {
		return send(t.Context(), "POST", a.url+"/v1/keys/"+m.Key.ID+"/revoke", root, "", map[string]any{}, nil) == nil
	})
	revoked, last, stale := time.Now(), time.Duration(0), 0
	until(t, "the key is revoked at the other service", func() bool {
		begun := time.Since(revoked)
		got := verify()
		if got == "VALID" {
			last, stale = begun, stale+1
		}
		return got == "REVOKED"
	})
	t.Logf("%d answers of the old state, the last one asked for %v after the revocation", stale, last)
	if last > 3*time.Second { // a second of silence, and what a busy machine adds
		t.Errorf("it was VALID for %v after it was revoked", last)
	}
}
