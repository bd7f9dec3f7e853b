package eventstore_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
)

// stagedLedger is a ledger in a directory whose server stages batches in memory, and the link
// to where.
func stagedLedger(t *testing.T, dir string) (l *eventstore.Ledger, s *eventstore.Server, link string) {
	t.Helper()
	s, err := eventstore.StartServer(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l = eventstoretest.Open(t, s)
	s.StageInMemory()
	return l, s, filepath.Join(dir, "jetstream", "$G", "streams", "KEYTRAIL_EVENTS", "batches")
}

// Where the directory in memory is lost, batches are refused, which shows that it is the one, and
// each event is appended all the same.
func TestBatchesAreStagedInMemory(t *testing.T) {
	for _, lost := range []bool{false, true} {
		l, s, link := stagedLedger(t, t.TempDir())
		staging, err := os.Readlink(link)
		if err != nil {
			t.Fatal(err)
		}
		if lost {
			if err := os.Remove(staging); err != nil {
				t.Fatal(err)
			}
		}
		refused := false
		l.AroundBatches(func(_ int, do func() error) error {
			err := do()
			refused = refused || err != nil
			return err
		})
		for i, o := range appendTogether(t, l, 60, asNew) {
			if events, end := historyOf(t, l, i); o.err != nil || events != 1 || end != o.at {
				t.Errorf("lost %t: key %d was answered %d, %v; it has %d events up to %d", lost, i, o.at, o.err, events, end)
			}
		}
		if refused != lost {
			t.Errorf("lost %t: batches were refused: %t", lost, refused)
		}
		s.Close()
		if _, err := os.Lstat(staging); !os.IsNotExist(err) {
			t.Errorf("lost %t: %s is left: %v", lost, staging, err)
		}
	}
}

// A start removes what a process that was killed left in memory, and nothing that the link led
// to otherwise.
func TestAStartRemovesTheStagingThatAKilledProcessLeft(t *testing.T) {
	dir := t.TempDir()
	_, s, link := stagedLedger(t, dir)
	s.Close()
	staging := func() string {
		made, err := os.MkdirTemp("/dev/shm", "keytrail-batches-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(made) })
		return made
	}
	left, kept := staging(), staging()
	foreign, outside := t.TempDir(), t.TempDir()
	for target, stays := range map[string]bool{left: false, foreign: true, kept + "/../../.." + outside: true, filepath.Join(foreign, "none"): false} {
		if err := os.RemoveAll(link); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
		s, err := eventstore.StartServer(dir, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		if _, err := os.Lstat(link); !os.IsNotExist(err) {
			t.Errorf("the link to %s is still there: %v", target, err)
		}
		if _, err := os.Lstat(target); (err == nil) != stays {
			t.Errorf("%s: %v", target, err)
		}
	}
}
