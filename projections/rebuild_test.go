package projections_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
	"github.com/keytrail/keytrail/projections"
)

// rebuilt rebuilds a projection, which must come to its end.
func rebuilt(t *testing.T, s *projections.Store, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	status, err := s.Rebuild(ctx, name)
	if err != nil || status.State != "done" || status.EndedAt == nil || status.Position == 0 || status.Position < status.End {
		t.Fatalf("the rebuild of %s ended with %+v, %v", name, status, err)
	}
}

// hourly writes uses of some keys in some hours.
func hourly(m *meter, keys, hours int) {
	for hour := range hours {
		for key := range keys {
			m.use(key, noon.Add(time.Duration(hour)*time.Hour), 60_000)
		}
		m.send()
	}
}

// tablesInUse fails if there are rows that belong to no projection.
func tablesInUse(t *testing.T, s *projections.Store, want map[string]int) {
	t.Helper()
	have, err := s.TableRows()
	total, wanted := 0, 0
	for _, n := range have {
		total += n
	}
	for _, n := range want {
		wanted += n
	}
	if err != nil || len(have) != len(want) || total != wanted {
		t.Errorf("the tables have these rows: %v, %v; want the sizes of %v", have, err, want)
	}
}

// A program with another version of a projection builds its own rows, and so does the one
// before when it comes back.
func TestAVersionIsNotBuiltOnTheRowsOfAnother(t *testing.T) {
	l := eventstoretest.New(t)
	newHistory(t, l).create()
	hourly(newMeter(t, l), 20, 5)
	dir := t.TempDir()
	s, stop := run(t, dir, l)
	before := dump(t, s)
	tables, err := s.TableRows()
	if err != nil {
		t.Fatal(err)
	}
	stop()
	for _, versions := range []string{"raised", "back"} {
		t.Run(versions, func(t *testing.T) {
			if versions == "raised" {
				for _, name := range projections.Names() {
					projections.RaiseVersion(t, name)
				}
			}
			s, stop := run(t, dir, l)
			same(t, "of one version and of another", before, dump(t, s))
			tablesInUse(t, s, tables)
			stop()
		})
	}
}

// The end of the process in the midst of a rebuild, and a rebuild that was given up, leave
// nothing that the next one would add to.
func TestARebuildBeginsWithNothing(t *testing.T) {
	projections.SetBufferedUses(t, 50)
	l := eventstoretest.New(t)
	hourly(newMeter(t, l), 20, 300)
	dir := t.TempDir()
	s, stop := run(t, dir, l)
	before := dump(t, s)
	tables, err := s.TableRows()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.BeginRebuild(t.Context(), "usage"); err != nil {
		t.Fatal(err)
	}
	rebuilt(t, s, "usage") // has the number that was left full
	same(t, "rebuilt after a rebuild that was cut off", before, dump(t, s))
	tablesInUse(t, s, tables)

	if err := s.BeginRebuild(t.Context(), "usage"); err != nil {
		t.Fatal(err)
	}
	stop()
	s, stop = run(t, dir, l)
	same(t, "after a rebuild that the end cut off", before, dump(t, s))
	tablesInUse(t, s, tables)

	if err := s.BeginRebuild(t.Context(), "usage"); err != nil {
		t.Fatal(err)
	}
	stop()
	projections.RaiseVersion(t, "usage")
	s, _ = run(t, dir, l)
	same(t, "of a new version after a rebuild that the end cut off", before, dump(t, s))
	tablesInUse(t, s, tables)
}

// A rebuild belongs to the store: it is seen, cancelled and ended there.
func TestARebuildIsCancelled(t *testing.T) {
	projections.SetBufferedUses(t, 20)
	l := eventstoretest.New(t)
	hourly(newMeter(t, l), 20, 300)
	dir := t.TempDir()
	s, stop := run(t, dir, l)
	before := dump(t, s)
	tables, err := s.TableRows()
	if err != nil {
		t.Fatal(err)
	}
	var refusal *domain.Error
	if err := s.StartRebuild("nothing"); err != domain.ErrProjectionNotFound {
		t.Errorf("a rebuild of nothing: %v", err)
	}
	if err := errors.Join(s.CancelRebuild(t.Context(), "usage"), s.StartRebuild("usage"), s.StartRebuild("usage")); err != nil {
		t.Fatal(err)
	}
	if err := s.StartRebuild("keys"); !errors.As(err, &refusal) || refusal.Code != "rebuild_running" {
		t.Errorf("a second one: %v", err)
	}
	for rebuildOf(t, s, "usage").Position < 3 { // of 300
	}
	if err := s.CancelRebuild(t.Context(), "usage"); err != nil {
		t.Fatal(err)
	}
	if status := rebuildOf(t, s, "usage"); status.State != "cancelled" || status.EndedAt == nil || status.Error != "" {
		t.Errorf("cancelled, it is %+v", status)
	}
	same(t, "after a rebuild was cancelled", before, dump(t, s))
	tablesInUse(t, s, tables)
	rebuilt(t, s, "usage")

	if err := s.StartRebuild("usage"); err != nil {
		t.Fatal(err)
	}
	for rebuildOf(t, s, "usage").Position < 3 {
	}
	stop() // waits for it, and does not wait long
	s, _ = run(t, dir, l)
	same(t, "after a rebuild that a stop ended", before, dump(t, s))
	tablesInUse(t, s, tables)
}

func rebuildOf(t *testing.T, s *projections.Store, name string) projections.RebuildStatus {
	t.Helper()
	all := s.Status()
	for _, p := range all {
		if p.Name == name && p.Rebuild != nil {
			return *p.Rebuild
		}
	}
	t.Fatalf("no rebuild of %s in %+v", name, all)
	return projections.RebuildStatus{}
}

// An entry of the catalog whose checkpoint has another name, or none, is not one at the
// ledger's beginning: records would be applied to rows that have them.
func TestRowsWithoutACheckpointAreNotAddedTo(t *testing.T) {
	l := eventstoretest.New(t)
	newHistory(t, l).create()
	hourly(newMeter(t, l), 5, 5)
	dir := t.TempDir()
	s, stop := run(t, dir, l)
	before := dump(t, s)
	for what, edit := range map[string]func(map[string]json.RawMessage){
		"another name": func(e map[string]json.RawMessage) { e["mark"] = e["checkpoint"]; delete(e, "checkpoint") },
		"none":         func(e map[string]json.RawMessage) { delete(e, "checkpoint") },
	} {
		for _, name := range projections.Names() {
			if err := s.EditCatalog(name, edit); err != nil {
				t.Fatal(err)
			}
		}
		stop()
		s, stop = run(t, dir, l)
		same(t, what, before, dump(t, s))
	}
}

// A cancelled context is not the ledger's end.
func TestARebuildIsNotDoneBecauseItsTimeIsOver(t *testing.T) {
	l := eventstoretest.New(t)
	newHistory(t, l).create()
	s, _ := run(t, t.TempDir(), l)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.BeginRebuild(ctx, "keys"); err == nil {
		t.Error("it was")
	}
}
