package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/keytrail/keytrail/api"
	"github.com/keytrail/keytrail/audit"
)

// get reads what is no JSON.
func (r *running) get(t testing.TB, path string) (int, string) {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), "GET", r.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("Authorization", "Bearer "+r.rootKey(t))
	a, err := web.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	return a.StatusCode, string(text)
}

// An auditor is a client of tlog-tiles that keeps the last checkpoint of each log.
type auditor struct {
	*running
	t      testing.TB
	stream string
	last   audit.Checkpoint
}

func (a *auditor) Height() int                     { return 8 }
func (a *auditor) SaveTiles([]tlog.Tile, [][]byte) {}
func (a *auditor) ReadTiles(all []tlog.Tile) (data [][]byte, err error) {
	for _, one := range all {
		status, text := a.get(a.t, "/v1/trail/"+a.stream+"/"+strings.Replace(one.Path(), "tile/8/", "tile/", 1))
		if status != 200 {
			return nil, fmt.Errorf("%s: %d %s", one.Path(), status, text)
		}
		data = append(data, []byte(text))
	}
	return data, nil
}

// follow reads the next checkpoint, and proves that it goes on from the last one.
func (a *auditor) follow() {
	a.t.Helper()
	status, text := a.get(a.t, "/v1/trail/"+a.stream+"/checkpoint")
	if status == 404 {
		return
	}
	c, err := audit.ParseCheckpoint([]byte(text))
	if err != nil {
		a.t.Fatalf("%d %s: %v", status, text, err)
	}
	if a.last.Size > 0 {
		if c.Origin != a.last.Origin || c.Size < a.last.Size {
			a.t.Errorf("the log %s of %d messages came after %s of %d", c.Origin, c.Size, a.last.Origin, a.last.Size)
			return
		}
		proof, err := tlog.ProveTree(c.Size, a.last.Size, tlog.TileHashReader(c.Tree(), a))
		if err == nil {
			err = tlog.CheckTree(proof, c.Size, c.Tree().Hash, a.last.Size, a.last.Tree().Hash)
		}
		if err != nil {
			a.t.Errorf("from %d to %d of %s: %v", a.last.Size, c.Size, a.stream, err)
		}
	}
	a.last = c
}

// signedPast follows until there is a later checkpoint than the last one.
func (a *auditor) signedPast(size int64) {
	a.t.Helper()
	until(a.t, fmt.Sprintf("a checkpoint of %s past %d", a.stream, size), func() bool { a.follow(); return a.last.Size > size })
}

// TestCheckpointsGoOnAfterKills: whatever a kill -9 leaves, an auditor sees one log.
func TestCheckpointsGoOnAfterKills(t *testing.T) {
	t.Parallel() // it waits more than it computes
	data := t.TempDir()
	r := launch(t, data)
	org := r.newOrg(t)
	keys := []made{r.newKey(t, org), r.newKey(t, org)}
	logs := []*auditor{{r, t, "events", audit.Checkpoint{}}, {r, t, "uses", audit.Checkpoint{}}}
	for round := range 5 {
		stop := r.underLoad(t, keys)
		r.newKey(t, org)
		for _, a := range logs {
			a.running = r
			a.signedPast(a.last.Size)
		}
		stop()
		r.end(t, syscall.SIGKILL)
		r = launch(t, data)
		if said := r.said.String(); strings.Contains(said, "not what was signed") {
			t.Fatalf("after kill %d: %s", round, said)
		}
	}
	for _, a := range logs {
		a.running = r
		a.signedPast(a.last.Size)
	}
	status, text := r.get(t, "/readyz")
	if status != 200 || strings.Contains(text, "audit_fork_detected") {
		t.Errorf("%d %s", status, text)
	}
	expect(t, r.command(t, "", "audit", "log"), exitOK, "log 1, installed", "events", "uses")
}

// TestALedgerThatWasPutBackIsFoundOut puts an older copy of the ledger into the data directory:
// nothing is signed, keys are verified, and an operator renews the log.
func TestALedgerThatWasPutBackIsFoundOut(t *testing.T) {
	data := t.TempDir()
	r := launch(t, data)
	org := r.newOrg(t)
	key := r.newKey(t, org)
	a := &auditor{r, t, "events", audit.Checkpoint{}}
	a.signedPast(3)
	r.end(t, syscall.SIGTERM)
	older := filepath.Join(t.TempDir(), "ledger")
	if err := os.CopyFS(older, os.DirFS(filepath.Join(data, "ledger"))); err != nil {
		t.Fatal(err)
	}
	r = launch(t, data)
	r.newKey(t, org)
	a.running = r
	a.signedPast(a.last.Size)
	r.end(t, syscall.SIGTERM)
	if err := os.RemoveAll(filepath.Join(data, "ledger")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(older, filepath.Join(data, "ledger")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		r = launch(t, data)
		until(t, "a fork", func() bool {
			_, text := r.get(t, "/readyz")
			return strings.Contains(text, "audit_fork_detected")
		})
		expect(t, r.command(t, key.Secret, "verify"), exitOK, "VALID")
		expect(t, r.command(t, "", "audit", "log"), exitOK, "FORK")
		r.end(t, syscall.SIGKILL)
	}
	r = launch(t, data, "--sink-files", t.TempDir())
	var made struct{ Sink struct{ ID string } }
	r.call(t, "POST", "/v1/sinks", map[string]any{"name": "all", "type": "file", "settings": map[string]any{"path": "all.ndjson"}}, &made)
	idsBegin := func(origin string) { // with what tells one ledger's positions from another's
		t.Helper()
		var attempt struct{ First string }
		if r.call(t, "POST", "/v1/sinks/"+made.Sink.ID+"/test", nil, &attempt); !strings.HasPrefix(attempt.First, path.Base(path.Dir(origin))+"-") {
			t.Errorf("the id %s is not of %s", attempt.First, origin)
		}
	}
	idsBegin(a.last.Origin)
	expect(t, r.command(t, "", "audit", "renew"), exitUsage, "comment")
	expect(t, r.command(t, "", "audit", "renew", "--comment", "the disk was put back"), exitOK, "log 2, renewed")
	until(t, "the log goes on", func() bool {
		_, text := r.get(t, "/readyz")
		return !strings.Contains(text, "audit_fork_detected")
	})
	next := &auditor{r, t, "events", audit.Checkpoint{}}
	next.signedPast(0)
	if next.last.Origin == a.last.Origin {
		t.Errorf("%s goes on", a.last.Origin)
	}
	idsBegin(next.last.Origin)
	expect(t, r.command(t, "", "audit", "rotate-keys", "--overlap", "1h"), exitOK, "log 2")
}

// TestARestorationBeginsTheNextLog: the log of the back-up is recorded, and no fork is told, where
// the process's second place has a checkpoint of it, too.
func TestARestorationBeginsTheNextLog(t *testing.T) {
	r := launch(t, t.TempDir())
	org := r.newOrg(t)
	r.newKey(t, org)
	a := &auditor{r, t, "events", audit.Checkpoint{}}
	a.signedPast(3)
	b := &auditor{r, t, "uses", audit.Checkpoint{}}
	b.signedPast(0)
	dir := t.TempDir()
	file, data := filepath.Join(dir, "ledger.tar"), filepath.Join(dir, "data")
	r.backUp(t, file)
	r.newKey(t, org)
	a.signedPast(a.last.Size) // later than the back-up
	expect(t, cli(t, "", environ(), "restore", "--from", file, "--data", data, "--confirm"), exitOK, "tiles")
	r.end(t, syscall.SIGTERM)
	if err := os.CopyFS(filepath.Join(data, "checkpoints"), os.DirFS(filepath.Join(r.data, "checkpoints"))); err != nil {
		t.Fatal(err)
	}
	for range 2 { // a restart begins no other
		again := restoredOf(t, r, data)
		next := &auditor{again, t, "events", audit.Checkpoint{}}
		next.signedPast(0)
		uses := &auditor{again, t, "uses", audit.Checkpoint{}}
		uses.signedPast(0)
		if next.last.Origin == a.last.Origin {
			t.Errorf("%s goes on", a.last.Origin)
		}
		var l api.TrailLog
		fromJSON(t, again.command(t, "", "audit", "log", "--json"), &l)
		if l.Number != 2 || l.Reason != "restored" || len(l.Earlier) != 1 || l.Earlier[0]+"/events" != a.last.Origin || l.Streams[0].Forked || l.Streams[1].Forked {
			t.Errorf("%+v", l)
		}
		_, events := again.get(t, "/v1/events?type=trail.begun&order=desc&limit=1")
		if !strings.Contains(events, `"previous_checkpoints":{"events":"`+a.last.Origin) || !strings.Contains(events, `"restored_at":"`) {
			t.Errorf("%.2000s", events)
		}
		again.end(t, syscall.SIGTERM)
	}
}

// TestProcessesOnAClusterSignOneLog: three processes, each on any of three servers, two of which are killed.
func TestProcessesOnAClusterSignOneLog(t *testing.T) {
	t.Parallel() // it waits more than it computes
	_, urls := natsCluster(t, 3)
	args := []string{"--nats-url", urls, "--replicas", "3"}
	first := launch(t, t.TempDir(), args...)
	processes := []*running{first}
	for range 2 {
		p := launch(t, t.TempDir(), append(args, "--keyring", filepath.Join(first.data, "keyring"), "--root-key-file", filepath.Join(first.data, "root.key"))...)
		if err := os.Symlink(filepath.Join(first.data, "root.key"), filepath.Join(p.data, "root.key")); err != nil {
			t.Fatal(err)
		}
		processes = append(processes, p)
	}
	org := first.newOrg(t)
	a := &auditor{first, t, "events", audit.Checkpoint{}}
	for i := range 6 {
		processes[i%3].newKey(t, org)
		a.running = processes[(i+1)%3]
		a.signedPast(a.last.Size)
	}
	a.running = processes[2]
	for i, p := range processes[:2] { // one of them signed, perhaps: the others take over
		p.end(t, syscall.SIGKILL)
		processes[i+1].newKey(t, org)
		a.signedPast(a.last.Size)
	}
	last := processes[2]
	until(t, "the second place of the process that is left", func() bool {
		text, err := os.ReadFile(filepath.Join(last.data, "checkpoints", "events"))
		return err == nil && strings.Contains(string(text), fmt.Sprintf(`\n%d\n`, a.last.Size))
	})
	if strings.Contains(last.said.String(), "not what was signed") {
		t.Errorf("%s", last.said)
	}
}
