package projections_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
	"github.com/keytrail/keytrail/projections"
)

// planUses writes uses that a plan has counted, and counts them itself.
type planUses struct {
	*meter
	at     time.Time
	counts map[projections.Meter]int64
}

func (p *planUses) use(n int) {
	key, owner, cost := meteredKey(rand.IntN(n)), fmt.Sprint("owner", rand.IntN(5)), rand.Int64N(3)
	u := domain.KeyUsed{Key: key, Code: domain.UseValid, At: p.at, Plan: "plan", Owner: owner, Cost: cost}
	if !p.batch.Add(p.org, &u, 0) {
		p.t.Fatal("the batch is full")
	}
	month := domain.MonthAt(p.at)
	for of, id := range map[domain.UsesOf][16]byte{domain.UsesOfOrganization: p.org.Bytes(), domain.UsesOfOwner: domain.OwnerBytes(p.org, owner), domain.UsesOfKey: key.Bytes()} {
		p.counts[projections.Meter{Month: month, Of: of, ID: id}] += max(cost, 1)
	}
}

func (p *planUses) check(what string, s *projections.Store) {
	p.t.Helper()
	for m, want := range p.counts {
		if have, err := s.MonthlyUses(m); err != nil || have != want {
			p.t.Fatalf("%s: of the %s %x there are %d uses, %v; want %d", what, m.Of, m.ID, have, err, want)
		}
	}
}

// Most uses of the month have aged out, by size. Whoever counts them anew comes to the same as who has counted
// them all: a rebuild, an empty directory, a process that stood still, and one that crashed in the middle.
func TestMonthsOutliveTheirUses(t *testing.T) {
	projections.SetFlushRows(t, 100)
	server := eventstoretest.Server(t)
	nc, err := server.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	l, err := eventstore.Open(t.Context(), nc, eventstore.Options{UsesMaxBytes: 50_000})
	if err != nil {
		t.Fatal(err)
	}
	p := &planUses{newMeter(t, l), time.Now(), map[projections.Meter]int64{}}
	fill := func(s *projections.Store, others ...*projections.Store) {
		for range 25 {
			for range 150 {
				p.use(3000)
			}
			p.send()
			var all errgroup.Group
			for _, s := range append(others, s) {
				catchUp(t, s, l)
				all.Go(func() error { return s.KeepMonths(t.Context(), l) })
			}
			if err := all.Wait(); err != nil {
				t.Fatal(err)
			}
		}
	}
	first, _ := run(t, t.TempDir(), l)
	stoodStill := t.TempDir()
	second, stop := run(t, stoodStill, l)
	fill(first, second)
	stop()
	fill(first)
	if gone, err := l.Gone(t.Context(), eventstore.Uses); err != nil || gone.Position < 30 {
		t.Fatalf("only %d messages of uses are gone, %v", gone.Position, err)
	}
	p.check("who has counted all", first)
	for _, name := range []string{"once", "twice"} {
		rebuilt(t, first, "usage")
		p.check("rebuilt "+name, first)
	}
	third, _ := run(t, t.TempDir(), l)
	p.check("from nothing", third)
	if err := projections.CutOffTaking(t.Context(), stoodStill, l); err != nil {
		t.Fatal(err)
	}
	second, stop = run(t, stoodStill, l)
	p.check("after it stood still", second)
	stop()
	second, _ = run(t, stoodStill, l)
	p.check("after another start", second)
	fill(third, first, second)
	for _, s := range []*projections.Store{first, second, third} {
		p.check("later", s)
	}
	rebuilt(t, second, "usage")
	p.check("rebuilt later", second)

	// A head and its two parts, and those of two processes that were second in the last round.
	months := eventstoretest.JetStream(t, server)
	stream, err := months.Stream(t.Context(), "KEYTRAIL_MONTHS")
	if err != nil {
		t.Fatal(err)
	}
	if info, err := stream.Info(t.Context(), jetstream.WithSubjectFilter(">")); err != nil || info.State.Msgs > 1+3*2 {
		t.Errorf("%d messages are left of %d meters, %v", info.State.Msgs, len(p.counts), err)
	}
}

// Nothing is written as long as no use of this month can age out.
func TestNoMonthsAreKeptForNothing(t *testing.T) {
	l := eventstoretest.New(t)
	p := &planUses{newMeter(t, l), time.Now(), map[projections.Meter]int64{}}
	p.use(1)
	p.send()
	s, _ := run(t, t.TempDir(), l)
	if err := s.KeepMonths(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	if head, err := l.State(t.Context(), eventstore.Months, "head"); err != nil || head.Revision != 0 {
		t.Errorf("%s is kept, %v", head.Data, err)
	}
}
