package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// TestALoadOfTheReadModelIsKilled kills the service while it builds the read model of a ledger that
// is large enough to be loaded, and as soon as what it built counts. The next start does it
// again or goes on: its rows are those of a load that nothing disturbed.
func TestALoadOfTheReadModelIsKilled(t *testing.T) {
	data := t.TempDir()
	fillLedger(t, filepath.Join(data, "ledger"), 8000)
	for _, sight := range []string{"building", "building/000001.sst", "2", "2/MANIFEST"} {
		if err := os.RemoveAll(filepath.Join(data, "readmodel")); err != nil {
			t.Fatal(err)
		}
		r := begin(t, data)
		seen := func() bool {
			_, err := os.Stat(filepath.Join(data, "readmodel", "events", sight))
			return err == nil
		}
		for begun := time.Now(); !seen(); {
			if time.Since(begun) > time.Minute {
				t.Fatalf("%s does not come", sight)
			}
		}
		r.end(t, syscall.SIGKILL)
		r = launch(t, data)
		r.end(t, syscall.SIGTERM)
		compareReadModel(t, data)
	}
}

// fillLedger writes the events that begin n keys of one organization.
func fillLedger(t *testing.T, dir string, n int) {
	t.Helper()
	server, err := eventstore.StartUnsyncedServer(dir, discard())
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	nc, err := server.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	l, err := eventstore.Open(t.Context(), nc, eventstore.Options{Logger: discard()})
	if err != nil {
		t.Fatal(err)
	}
	org, at := domain.NewOrgID("filled"), time.UnixMilli(1e12).UTC()
	writers, ctx := errgroup.WithContext(context.Background())
	writers.SetLimit(64)
	for i := range n {
		writers.Go(func() error {
			id, secret := domain.NewKeyID(org, fmt.Sprint(i)), domain.NewSecret(fmt.Sprint(i))
			_, err := l.Append(ctx, eventstore.KeyRef(org, id), 0, eventstore.Command{}, domain.KeyCreated{ID: id, Org: org, Keyspace: "default",
				Settings: domain.Settings{Name: fmt.Sprint("n", i)}, Digest: secret.Digest(), Prefix: "p", Header: domain.Header{At: at, By: "system"}})
			return err
		})
	}
	if err := writers.Wait(); err != nil {
		t.Fatal(err)
	}
}
