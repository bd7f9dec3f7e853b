package main

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/keytrail/keytrail/eventstore"
)

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// natsCluster starts n real servers that replicate among each other, on loopback.
func natsCluster(t testing.TB, n int) (servers []*server.Server, urls string) {
	t.Helper()
	var routes []*url.URL
	var all []*server.Options
	for i := range n {
		o := &server.Options{ServerName: fmt.Sprintf("n%d", i), Host: "127.0.0.1", Port: freePort(t), NoLog: true, NoSigs: true,
			JetStream: true, StoreDir: t.TempDir(), SyncAlways: true}
		if n > 1 {
			o.Cluster = server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: freePort(t)}
			routes = append(routes, &url.URL{Scheme: "nats", Host: fmt.Sprintf("127.0.0.1:%d", o.Cluster.Port)})
		}
		all = append(all, o)
	}
	var addresses []string
	for _, o := range all {
		o.Routes = routes
		s, err := server.NewServer(o)
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
		servers = append(servers, s)
		addresses = append(addresses, fmt.Sprintf("nats://127.0.0.1:%d", o.Port))
	}
	until(t, "the cluster is up", func() bool {
		for _, s := range servers {
			if !s.ReadyForConnections(time.Second) || n > 1 && !s.JetStreamIsCurrent() {
				return false
			}
		}
		return true
	})
	return servers, strings.Join(addresses, ",")
}

// until waits for what no event tells of.
func until(t testing.TB, what string, f func() bool) {
	t.Helper()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-deadline.C:
			t.Fatalf("still not: %s", what)
		case <-tick.C:
		}
	}
}

// natsServer starts one real server on a port.
func natsServer(t testing.TB, port int) *server.Server {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, NoLog: true, NoSigs: true, JetStream: true, StoreDir: t.TempDir(), SyncAlways: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	return s
}

func TestTheLedgerOnAnExternalServer(t *testing.T) {
	_, urls := natsCluster(t, 1)
	r := launch(t, t.TempDir(), "--nats-url", urls)
	m := r.newKey(t, r.newOrg(t))
	if code := r.end(t, syscall.SIGTERM); code != 0 {
		t.Fatalf("exit code %d: %s", code, r.said)
	}
	r = launch(t, r.data, "--nats-url", urls)
	expect(t, r.command(t, m.Secret, "verify"), exitOK, "VALID")
}

func TestThreeReplicasOutliveOneServer(t *testing.T) {
	servers, urls := natsCluster(t, 3)
	r := launch(t, t.TempDir(), "--nats-url", urls, "--replicas", "3")
	org := r.newOrg(t)
	before := r.newKey(t, org)
	first := r.importKeys(t, org, "before")
	servers[0].Shutdown()
	servers[0].WaitForShutdown()
	var after made
	until(t, "a key can be created with one server down", func() bool {
		return send(t.Context(), "POST", r.url+"/v1/keys", r.rootKey(t), "", map[string]any{"org_id": org, "name": "after"}, &after) == nil
	})
	expect(t, r.command(t, before.Secret, "verify"), exitOK, "VALID")
	// Its answer did not wait for the read model beyond its bound: the secret is in it alone.
	until(t, "the read model has gone on", func() bool { return r.command(t, after.Secret, "verify").code == exitOK })
	for _, keys := range [][]string{first, r.importKeys(t, org, "after")} {
		var sum revoked
		r.call(t, "POST", "/v1/keys/revoke", map[string]any{"ids": keys}, &sum)
		if sum.Revoked != len(keys) {
			t.Errorf("%+v of %d keys", sum, len(keys))
		}
	}
	if n := batched(t, urls); n < len(first) {
		t.Errorf("%d events were appended in batches, which proves little", n)
	}
	expect(t, r.command(t, "", "keys", "revoke", before.Key.ID), exitOK)
	expect(t, r.command(t, before.Secret, "verify"), exitRefused, "REVOKED")
}

// importKeys imports so many keys that they share batches, and gives their ids.
func (r *running) importKeys(t testing.TB, org, name string) (ids []string) {
	t.Helper()
	lines, _ := linesToImport(org, name, 100)
	var sum struct {
		Imported int
		Results  []struct {
			Key string `json:"key_id"`
		}
	}
	r.call(t, "POST", "/v1/keys/import", lines, &sum)
	for _, result := range sum.Results {
		ids = append(ids, result.Key)
	}
	if sum.Imported != len(ids) || len(ids) == 0 {
		t.Fatalf("%+v", sum)
	}
	return ids
}

// batched is how many events of the ledger were members of a batch.
func batched(t testing.TB, urls string) (n int) {
	t.Helper()
	nc, err := nats.Connect(urls)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	l, err := eventstore.Open(t.Context(), nc, eventstore.Options{Existing: true})
	if err != nil {
		t.Fatal(err)
	}
	end, err := l.End(t.Context(), eventstore.Events)
	if err == nil {
		err = l.Copy(t.Context(), eventstore.Events, 0, end, func(m *eventstore.Raw) error {
			if len(m.Header["Nats-Batch-Id"]) > 0 {
				n++
			}
			return nil
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestTheComposeFilesClusterIsOne reads the servers' configuration as the server does.
func TestTheComposeFilesClusterIsOne(t *testing.T) {
	b, err := os.ReadFile("../../docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	// The image is the server that these tests run.
	if image := "image: nats:" + server.VERSION + "-alpine"; !strings.Contains(string(b), image) {
		t.Errorf("docker-compose.yml has no %s", image)
	}
	_, rest, found := strings.Cut(string(b), "    content: |\n")
	if !found {
		t.Fatal("docker-compose.yml has no configuration for NATS")
	}
	var conf strings.Builder
	for line := range strings.Lines(rest) {
		text, inside := strings.CutPrefix(line, "      ")
		if !inside {
			break
		}
		conf.WriteString(strings.ReplaceAll(text, "$$", "$"))
	}
	file := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(file, []byte(conf.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("NATS_NAME", "nats-1")
	o, err := server.ProcessConfigFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !o.JetStream || !o.SyncAlways || o.ServerName != "nats-1" || len(o.Routes) != 3 || o.Cluster.Name == "" {
		t.Errorf("%+v", o)
	}
}
