package projections_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
	"github.com/keytrail/keytrail/projections"
)

// A load leaves the very rows that applying the events one by one does: at the first start, of
// each new version, and in a rebuild of each projection.
func TestALoadLeavesTheRowsOfTheEvents(t *testing.T) {
	l := eventstoretest.New(t)
	h := newHistory(t, l)
	s, _ := run(t, t.TempDir(), l)
	projections.SetMinLoaded(t, 1)
	projections.SetMaxSpillMemory(t, 2000)
	projections.Fewer(t, 20)
	rapid.Check(t, func(r *rapid.T) {
		h.some(r)
		catchUp(t, s, l)
		applied := dump(t, s)
		dir := t.TempDir()
		loaded, stop := run(t, dir, l)
		defer stop()
		same(t, "loaded and applied", applied, dump(t, loaded))
		name := rapid.SampledFrom([]string{"keys", "organizations", "owners", "keyspaces", "sinks", "people", "session_keys", "log_ins", "requests", "org_events"}).Draw(r, "projection")
		rebuilt(t, loaded, name)
		same(t, "rebuilt and applied", applied, dump(t, loaded))
		h.checkConditions(loaded)
		h.checkPeople(loaded)
		h.some(r)
		catchUp(t, s, l)
		catchUp(t, loaded, l)
		same(t, "followed after a load", dump(t, s), dump(t, loaded))
		h.checkConditions(loaded)
		h.checkPeople(loaded)
		stop()
		if entries, err := os.ReadDir(filepath.Join(dir, eventstore.Events.String())); err != nil || len(entries) != 1 {
			t.Errorf("a load leaves %v, %v", entries, err)
		}
		again, stopAgain := run(t, dir, l)
		defer stopAgain()
		same(t, "opened again", dump(t, s), dump(t, again))
		h.checkConditions(again)
		h.checkPeople(again)
	})
}

// some writes random events, and some requests with an Idempotency-Key. Of the keys some are
// imported, and have the digest of another organization's.
func (h *history) some(r *rapid.T) {
	for range rapid.IntRange(1, 8).Draw(r, "created") {
		h.create()
	}
	for range rapid.IntRange(0, 12).Draw(r, "changed") {
		h.change()
		h.changeOrganization()
		h.changeOwner()
		h.changePeople()
	}
	for n := range rapid.IntRange(0, 5).Draw(r, "imported") {
		of := h.keys[rapid.SampledFrom(h.ids).Draw(r, "of")]
		k := &projections.KeyRow{}
		k.ID, k.Org = domain.NewKeyID("", fmt.Sprint("import", len(h.ids), n)), h.orgs[100+rapid.IntRange(0, 3).Draw(r, "organization")]
		e := domain.KeyCreated{ID: k.ID, Org: k.Org, Keyspace: "default", Settings: domain.Settings{Name: "n", Metadata: map[string]string{"a": "b"}}, Imported: true,
			Digest: of.Secrets[len(of.Secrets)-1].Digest, Header: domain.Header{At: h.now()}}
		p, err := h.ledger.Append(h.t.Context(), eventstore.KeyRef(k.Org, k.ID), 0, eventstore.Command{ID: string(k.ID), Fingerprint: "f"}, e)
		if err != nil {
			h.t.Fatal(err)
		}
		k.Apply(e)
		k.Revision = p
		h.keys[k.ID], h.ids = k, append(h.ids, k.ID)
	}
}

// Readers see whole tables while another Badger takes the place of the one they read, however
// often.
func TestReadersDuringALoad(t *testing.T) {
	l := eventstoretest.New(t)
	h := newHistory(t, l)
	for range 200 {
		h.create()
	}
	s, _ := run(t, t.TempDir(), l)
	ctx, cancel := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for ctx.Err() == nil {
				before, after, err := s.DuringAQuery(func() {})
				if err != nil || before < 200 || after != before {
					t.Errorf("a query finds %d keys and then %d, %v", before, after, err)
				}
				var c projections.Credential
				k := h.keys[h.ids[0]]
				if found, err := s.Credential(&k.Secrets[0].Digest, domain.Only(k.Org), &c); err != nil || !found {
					t.Errorf("the credential is found: %v, %v", found, err)
				}
			}
		})
	}
	for range 3 {
		rebuilt(t, s, "keys")
		rebuilt(t, s, "organizations")
	}
	cancel()
	readers.Wait()
}

// A start loads the tables that lack most of the ledger, and no others.
func TestAStartLoadsWhatIsFarBehind(t *testing.T) {
	projections.SetMinLoaded(t, 1)
	l := eventstoretest.New(t)
	h := newHistory(t, l)
	dir := t.TempDir()
	for _, c := range []struct {
		created int
		loaded  bool
	}{{20, true}, {20, false}, {300, true}} {
		for range c.created {
			h.create()
		}
		s, stop := run(t, dir, l)
		for _, p := range s.Status() {
			if p.Stream == "events" && (p.Rebuild != nil) != c.loaded {
				t.Errorf("%d more events, %s: loaded is %v, wanted %v", c.created, p.Name, p.Rebuild != nil, c.loaded)
			}
		}
		fresh, stopFresh := run(t, t.TempDir(), l)
		same(t, "started again", dump(t, fresh), dump(t, s))
		stopFresh()
		stop()
	}
}

// Of a load that was cut off nothing counts, and nothing is left.
func TestALoadThatWasCutOff(t *testing.T) {
	l := eventstoretest.New(t)
	h := newHistory(t, l)
	for range 50 {
		h.create()
	}
	dir := t.TempDir()
	s, stop := run(t, dir, l)
	for _, step := range []projections.LoadStep{projections.LoadRead, projections.LoadBuilt} {
		if err := s.BeginLoad(t.Context(), "keys", step); err != nil {
			t.Fatal(err)
		}
		h.create()
		stop()
		s, stop = run(t, dir, l)
		fresh, stopFresh := run(t, t.TempDir(), l)
		same(t, "after a load that was cut off", dump(t, fresh), dump(t, s))
		stopFresh()
		entries, err := os.ReadDir(filepath.Join(dir, eventstore.Events.String()))
		if err != nil || len(entries) != 1 {
			t.Errorf("the directory has %v, %v", entries, err)
		}
	}
}
