package eventstore_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
)

func dataKeyRef(n int) eventstore.DataKeyRef {
	org := domain.NewOrgID("acme")
	return eventstore.DataKeyRef{Org: org, Key: domain.NewKeyID(org, fmt.Sprint(n)), Secret: "aa"}
}

// TestADestroyedDataKeyIsNotOnTheDisk looks for its bytes in every file of the server.
func TestADestroyedDataKeyIsNotOnTheDisk(t *testing.T) {
	dir := t.TempDir()
	s, err := eventstore.StartServer(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	l := eventstoretest.Open(t, s)
	secret, other := []byte("the first sealed data key"), []byte("the second sealed data key")
	for n, key := range [][]byte{secret, other} {
		if err := l.PutDataKey(t.Context(), dataKeyRef(n), key); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := l.DataKey(t.Context(), dataKeyRef(0)); err != nil || !bytes.Equal(got, secret) {
		t.Errorf("%q, %v", got, err)
	}
	if !onDisk(t, dir, secret) {
		t.Error("it was never on the disk: this test sees nothing")
	}
	for range 2 { // destroying what is destroyed is no error
		if err := l.DestroyDataKey(t.Context(), dataKeyRef(0)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.DataKey(t.Context(), dataKeyRef(0)); !errors.Is(err, eventstore.ErrNoDataKey) {
		t.Errorf("a destroyed one: %v", err)
	}
	if onDisk(t, dir, secret) {
		t.Error("it is on the disk after it was destroyed")
	}
	if !onDisk(t, dir, other) {
		t.Error("another one was destroyed with it")
	}
}

func onDisk(t *testing.T, dir string, text []byte) (found bool) {
	t.Helper()
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil // files come and go
		}
		b, _ := os.ReadFile(path)
		found = found || bytes.Contains(b, text)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return found
}

func TestEachDataKeyIsNamedOnce(t *testing.T) {
	l := eventstoretest.New(t)
	eventstore.SetDataKeysPage(t, 3)
	const all = 10
	for n := range all {
		for range 2 { // putting one again replaces it
			if err := l.PutDataKey(t.Context(), dataKeyRef(n), []byte("sealed")); err != nil {
				t.Fatal(err)
			}
		}
	}
	named := map[eventstore.DataKeyRef]int{}
	if err := l.EachDataKey(t.Context(), func(r eventstore.DataKeyRef) error { named[r]++; return nil }); err != nil {
		t.Fatal(err)
	}
	for n := range all {
		if named[dataKeyRef(n)] != 1 {
			t.Errorf("%v was named %d times", dataKeyRef(n), named[dataKeyRef(n)])
		}
	}
	stop := errors.New("stop")
	if err := l.EachDataKey(t.Context(), func(eventstore.DataKeyRef) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("%v", err)
	}
}
