package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/keytrail/keytrail/domain"
)

// good tells whether the service knows a management key.
func (r *running) good(t testing.TB, key string) bool {
	t.Helper()
	err := send(t.Context(), "GET", r.url+"/v1/principal", key, "", nil, nil)
	if refused := new(refusedError); err != nil && !errors.As(err, &refused) {
		t.Fatal(err)
	}
	return err == nil
}

func TestALostRootKeyIsReset(t *testing.T) {
	r := launch(t, t.TempDir())
	old, org := r.rootKey(t), r.newOrg(t)
	expect(t, cli(t, "", environ(), "root-key", "reset", "--data", r.data), exitRefused, "")
	if code := r.end(t, syscall.SIGTERM); code != 0 {
		t.Fatalf("exit code %d: %s", code, r.said)
	}
	if err := os.Remove(filepath.Join(r.data, "root.key")); err != nil {
		t.Fatal(err)
	}
	told := cli(t, "", environ(), "root-key", "reset", "--data", r.data)
	if told.code != exitOK || !strings.Contains(told.out, filepath.Join(r.data, "root.key")) {
		t.Fatalf("%+v", told)
	}
	// Again, as after an interruption; what the file held is kept.
	expect(t, cli(t, "", environ(), "root-key", "reset", "--data", r.data), exitOK, ".before-")
	info, err := os.Stat(filepath.Join(r.data, "root.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	r = launch(t, r.data)
	if r.good(t, old) || !r.good(t, r.rootKey(t)) {
		t.Error("the old root key is still good, or the new one is not")
	}
	r.newKey(t, org)
	var page struct {
		Items []struct{ Type, Actor, Orgid string }
	}
	r.call(t, "GET", "/v1/events?type=key.revoked", nil, &page)
	if len(page.Items) != 2 || page.Items[0].Actor != "system" || page.Items[0].Orgid != string(domain.Installation) {
		t.Errorf("on the audit trail: %+v", page.Items)
	}
}

func TestARootKeyIsNotResetWhereThereIsNoLedger(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "typo")
	expect(t, cli(t, "", environ(), "root-key", "reset", "--data", dir), exitRefused, "")
	if _, err := os.Stat(dir); err == nil {
		t.Error("the directory was made")
	}
	_, urls := natsCluster(t, 1)
	expect(t, cli(t, "", environ(), "root-key", "reset", "--nats-url", urls, "--data", t.TempDir()), exitRefused, "")
}

// TestProcessesOfAClusterShareTheirFiles starts two on one NATS server and resets the root
// key while they run.
func TestProcessesOfAClusterShareTheirFiles(t *testing.T) {
	_, urls := natsCluster(t, 1)
	shared := t.TempDir()
	flags := []string{"--nats-url", urls, "--keyring", filepath.Join(shared, "keyring"), "--root-key-file", filepath.Join(shared, "root.key")}
	first := launch(t, t.TempDir(), flags...)
	second := launch(t, t.TempDir(), flags...)
	for _, r := range []*running{first, second} {
		if files, _ := os.ReadDir(r.data); len(files) != 2 || files[0].Name() != "checkpoints" || files[1].Name() != "readmodel" || !strings.Contains(r.said.String(), filepath.Join(shared, "root.key")) {
			t.Errorf("%v: %s", files, r.said)
		}
	}
	third := launch(t, t.TempDir(), flags[:4]...)
	if strings.Contains(third.said.String(), "root.key") {
		t.Errorf("a process without the root key's file says %s", third.said)
	}
	old := secretIn(t, filepath.Join(shared, "root.key"))
	expect(t, cli(t, "", environ("KEYTRAIL_ROOT_KEY_FILE="+filepath.Join(shared, "root.key"), "KEYTRAIL_NATS_URL="+urls), "root-key", "reset"), exitOK, "")
	fresh := secretIn(t, filepath.Join(shared, "root.key"))
	for _, r := range []*running{first, second} {
		until(t, "the reset is in force", func() bool { return !r.good(t, old) && r.good(t, fresh) })
	}
}

func secretIn(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// TestARootKeyThatLostARaceLeavesTheFileToTheWinner writes one file for two processes.
func TestARootKeyThatLostARaceLeavesTheFileToTheWinner(t *testing.T) {
	path := filepath.Join(t.TempDir(), "root.key")
	content := func() string { return secretIn(t, path) }
	winner, loser := rootFile{path: path}, rootFile{path: path}
	keep := func(f *rootFile, text string) {
		t.Helper()
		if err := f.keep(domain.NewSecret(text)); err != nil {
			t.Fatal(err)
		}
	}
	keep(&winner, "winner")
	keep(&loser, "loser")
	if err := loser.giveUp(); err != nil || content() != "winner" {
		t.Errorf("the loser wrote last: %q, %v", content(), err)
	}
	loser = rootFile{path: path}
	keep(&loser, "loser")
	keep(&winner, "winner")
	if err := loser.giveUp(); err != nil || content() != "winner" {
		t.Errorf("the winner wrote last: %q, %v", content(), err)
	}
}
