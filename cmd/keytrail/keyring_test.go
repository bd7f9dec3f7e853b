package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/keytrail/keytrail/internal/keyring"
)

// refusedToStart is what serve says instead of starting.
func refusedToStart(t testing.TB, data string, args ...string) string {
	t.Helper()
	r := begin(t, data, args...)
	<-r.done
	if code := r.cmd.ProcessState.ExitCode(); code != exitRefused {
		t.Errorf("exit code %d: %s", code, r.said)
	}
	return r.said.String()
}

func (r *running) importDigest(t *testing.T, org, digest string) (id string) {
	t.Helper()
	line := `{"org_id":"` + org + `","name":"old","digest":"` + digest + `"}`
	expect(t, r.command(t, line, "keys", "import", "-"), exitOK)
	var page struct {
		Items []struct{ ID string }
	}
	r.call(t, "GET", "/v1/keys?org_id="+org+"&name=old", nil, &page)
	if len(page.Items) != 1 {
		t.Fatalf("%d imported keys", len(page.Items))
	}
	return page.Items[0].ID
}

func TestAnInstallationStartsWithItsKeyringAlone(t *testing.T) {
	r := launch(t, t.TempDir())
	path := filepath.Join(r.data, "keyring")
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	ring, err := keyring.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	org := r.newOrg(t)
	digest := strings.Repeat("ab", 32)
	first := r.importDigest(t, org, digest)
	product := r.newKey(t, org)
	stop := func() {
		t.Helper()
		if code := r.end(t, syscall.SIGTERM); code != 0 {
			t.Fatalf("exit code %d: %s", code, r.said)
		}
	}
	stop()
	r = launch(t, r.data) // with the same
	if again := r.importDigest(t, org, digest); again != first {
		t.Errorf("imported again as %s, was %s", again, first)
	}
	stop()
	if err := os.Rename(path, path+".lost"); err != nil {
		t.Fatal(err)
	}
	for name, prepare := range map[string]func() error{
		"without it": func() error { return nil },
		"another":    func() error { return keyring.New().Create(path) },
		"damaged":    func() error { return os.WriteFile(path, nil, 0o600) },
	} {
		if err := prepare(); err != nil {
			t.Fatal(err)
		}
		said := refusedToStart(t, r.data)
		if name != "damaged" && (!strings.Contains(said, ring.Fingerprint()) || !strings.Contains(said, "keyring replace")) {
			t.Errorf("%s: %s", name, said)
		}
		if name == "without it" {
			if _, err := os.Stat(path); err == nil || !strings.Contains(said, "does not exist") {
				t.Errorf("another keyring was made: %s", said)
			}
		}
		_ = os.Remove(path)
	}
	expect(t, cli(t, "", environ(), "keyring", "replace", "--data", r.data), exitOK, "fingerprint")
	expect(t, cli(t, "", environ(), "keyring", "replace", "--data", r.data), exitOK, "fingerprint")
	r = launch(t, r.data)
	expect(t, r.command(t, product.Secret, "verify"), exitOK, "VALID")
	stop()
	if said := refusedToStart(t, r.data, "--keyring", path+".lost"); !strings.Contains(said, ring.Fingerprint()) {
		t.Errorf("with the keyring that was replaced: %s", said)
	}
}

func TestOfProcessesThatStartTogetherOneMakesTheKeyring(t *testing.T) {
	_, urls := natsCluster(t, 1)
	var all []*running
	for range 3 {
		all = append(all, begin(t, t.TempDir(), "--nats-url", urls))
	}
	served, refused := 0, 0
	for _, r := range all {
		until(t, "it serves or refuses to", func() bool {
			select {
			case <-r.done:
				return true
			default:
				return readyLine.MatchString(r.said.String())
			}
		})
		_, err := os.Stat(filepath.Join(r.data, "keyring"))
		switch {
		case readyLine.MatchString(r.said.String()) && err == nil:
			served++
		case err != nil && strings.Contains(r.said.String(), "copy the file from the process that has it"):
			refused++
		default:
			t.Errorf("keyring %v: %s", err, r.said)
		}
	}
	if served != 1 || refused != 2 {
		t.Errorf("%d serve and %d refuse", served, refused)
	}
}
