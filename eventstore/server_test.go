package eventstore_test

import (
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
)

// smallDisk is the directory on a small file system, in the process that has one.
const smallDisk = "KEYTRAIL_TEST_SMALL_DISK"

// TestTheServerLimitsNoDisk lets the embedded server start when 8 MiB of its disk are free,
// makes room, and writes more: a limit that it set by what was free would stop it.
func TestTheServerLimitsNoDisk(t *testing.T) {
	if dir := os.Getenv(smallDisk); dir != "" {
		fillDisk(t, dir)
		return
	}
	dir := t.TempDir()
	mount := fmt.Sprintf(`mount -t tmpfs -o size=64m tmpfs %s; exec "$0" "$@"`, dir)
	command := append(eventstoretest.OwnMounts(), "sh", "-ec", mount, os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	inside := exec.Command(command[0], command[1:]...)
	inside.Env = append(os.Environ(), smallDisk+"="+dir)
	if out, err := inside.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("%v: %s", err, out)
	}
}

func fillDisk(t *testing.T, dir string) {
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 56<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := eventstore.StartServer(filepath.Join(dir, "ledger"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	l := eventstoretest.Open(t, s)
	ref := eventstore.KeyRef(org, created(1).ID)
	var end eventstore.Position
	name := strings.Repeat("x", 50<<10)
	for range 500 {
		if end, err = l.Append(t.Context(), ref, end, eventstore.Command{}, domain.KeyUpdated{Changes: domain.Changes{Name: &name}, Header: domain.Header{At: noon}}); err != nil {
			t.Fatalf("after %d events: %v", end, err)
		}
	}
}

// TestAStreamThatCannotBeReadIsNotMadeAgain leaves the metadata of a stream as a crash in the
// middle of writing them would: to begin an empty ledger in its place would lose every key.
func TestAStreamThatCannotBeReadIsNotMadeAgain(t *testing.T) {
	dir := t.TempDir()
	s, err := eventstore.StartServer(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l := eventstoretest.Open(t, s)
	if _, err := l.Append(t.Context(), eventstore.KeyRef(org, created(1).ID), 0, eventstore.Command{}, created(1)); err != nil {
		t.Fatal(err)
	}
	s.Close()
	sum := filepath.Join(dir, "jetstream", "$G", "streams", "KEYTRAIL_EVENTS", "meta.sum")
	whole, err := os.ReadFile(sum)
	if err != nil {
		t.Fatal(err)
	}
	for _, left := range []string{"", string(whole[:10])} {
		if err := os.WriteFile(sum, []byte(left), 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err := eventstore.StartServer(dir, slog.New(slog.DiscardHandler)); err == nil {
			s.Close()
			t.Fatalf("with %q for its checksum the stream is passed over", left)
		} else if !strings.Contains(err.Error(), "KEYTRAIL_EVENTS") {
			t.Errorf("it says %v", err)
		}
	}
	if err := os.WriteFile(sum, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := eventstore.StartServer(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}
