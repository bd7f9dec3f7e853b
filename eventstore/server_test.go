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
	name := strings.Repeat("x", 500<<10)
	for range 50 {
		if end, err = l.Append(t.Context(), ref, end, eventstore.Command{}, domain.KeyUpdated{Changes: domain.Changes{Name: &name}, Header: domain.Header{At: noon}}); err != nil {
			t.Fatalf("after %d events: %v", end, err)
		}
	}
}
