package projections_test

import (
	"errors"
	"testing"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
	"github.com/keytrail/keytrail/projections"
)

func TestRowsFollowFromTheLedgerAlone(t *testing.T) {
	l := eventstoretest.New(t)
	h := newHistory(t, l)
	dir := t.TempDir()
	s, stop := run(t, dir, l)
	for range 150 {
		h.create()
	}
	for range 200 {
		h.change()
		if h.rand.IntN(40) == 0 {
			h.use(7)
			stop() // and go on from the position
			s, stop = run(t, dir, l)
		}
	}
	h.use(100)
	catchUp(t, s, l)
	incremental := dump(t, s)
	if len(incremental) < 1000 {
		t.Fatalf("only %d rows", len(incremental))
	}
	fresh, _ := run(t, t.TempDir(), l)
	same(t, "incremental and fresh", incremental, dump(t, fresh))
	for _, name := range projections.Names() {
		rebuilt(t, s, name)
	}
	same(t, "before and after a rebuild", incremental, dump(t, s))
	h.create()
	catchUp(t, s, l)
	stop()
	again, _ := run(t, dir, l)
	last := h.ids[len(h.ids)-1]
	if _, err := again.Key(domain.Only(domain.NewOrgID("another's")), last); !errors.Is(err, domain.ErrKeyNotFound) {
		t.Errorf("a key is read from beyond its organization: %v", err)
	}
	if _, err := again.Key(domain.All, last); err != nil {
		t.Errorf("a key created after the rebuild: %v", err)
	}
}

func TestAnotherLedgerMakesItRebuild(t *testing.T) {
	dir := t.TempDir()
	first := eventstoretest.New(t)
	newHistory(t, first).create()
	_, stop := run(t, dir, first)
	stop()
	second := eventstoretest.New(t)
	h := newHistory(t, second)
	h.create()
	h.create()
	s, _ := run(t, dir, second)
	fresh, _ := run(t, t.TempDir(), second)
	same(t, "moved to another ledger and fresh", dump(t, s), dump(t, fresh))
}
