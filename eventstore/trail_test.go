package eventstore_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
)

var orgs = []domain.OrgID{domain.NewOrgID("a"), domain.NewOrgID("b"), domain.NewOrgID("c")}

// history appends n messages to both streams, as random as a seed makes them.
func history(t testing.TB, l *eventstore.Ledger, seed uint64, n int) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 0))
	for i := range n {
		at := orgs[random.IntN(len(orgs))]
		if random.IntN(3) == 0 {
			e := created(0)
			e.ID, e.Org = domain.NewKeyID(at, fmt.Sprint(seed, "-", i)), at
			if _, err := l.Append(t.Context(), eventstore.KeyRef(at, e.ID), 0, eventstore.Command{ID: "c", Actor: "system"}, e); err != nil {
				t.Fatal(err)
			}
			continue
		}
		use(t, l, at, fmt.Sprint("key ", random.IntN(5)), 1+random.IntN(4))
	}
}

// use appends one message of n uses of a key.
func use(t testing.TB, l *eventstore.Ledger, org domain.OrgID, key string, n int) eventstore.Position {
	t.Helper()
	var b eventstore.UseBatch
	for i := range n {
		b.Add(org, &domain.KeyUsed{Key: domain.NewKeyID(org, key), Code: domain.UseValid, Principal: fmt.Sprint("p", i%2), At: noon}, 0)
	}
	p, err := l.AppendUses(t.Context(), &b)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func identities(entries []*eventstore.Entry) (ids []string) {
	for _, e := range entries {
		ids = append(ids, e.Stream.String()+" "+e.Identity())
	}
	return ids
}

var filters = []eventstore.Filter{
	{Reach: domain.All}, {Reach: domain.Only(orgs[0])}, {Reach: domain.All, Types: []string{"key.used"}}, {Reach: domain.Only(orgs[1]), Types: []string{"key.created"}},
	{Reach: domain.All, Key: domain.NewKeyID(orgs[1], "key 3")}, {Reach: domain.Only(orgs[2]), Key: domain.NewKeyID(orgs[2], "key 3")},
	{Reach: domain.All, Actor: "p1"}, {Reach: domain.All, Types: []string{"key.revoked"}}, {Reach: domain.Only(domain.NewOrgID("nobody"))}, {},
}

func replayed(t testing.TB, trail *eventstore.Trail, f eventstore.Filter) (all []*eventstore.Entry) {
	t.Helper()
	if err := trail.Replay(t.Context(), f, eventstore.Cursor{}, func(r *eventstore.Record) error { all = append(all, &eventstore.Entry{Record: *r}); return nil }); err != nil {
		t.Fatal(err)
	}
	return all
}

// TestAReaderOfChangesLooksAtNoUses: with types of one stream the other is not read.
func TestAReaderOfChangesLooksAtNoUses(t *testing.T) {
	server := eventstoretest.Server(t)
	l := eventstoretest.Open(t, server)
	trail := eventstore.NewTrail(l, nil)
	for range 20 {
		use(t, l, orgs[0], "k", 5)
	}
	for types, reads := range map[string]bool{"key.created": false, "key.used": true, "credentials.refused": true} {
		before := apiCalls(t, server)
		page, err := trail.Page(t.Context(), eventstore.Filter{Reach: domain.All, Types: []string{types}}, eventstore.Cursor{}, 100)
		if err != nil || !page.AtEnd || page.Next.At[eventstore.Uses] != 20 {
			t.Errorf("%s: %+v %v", types, page, err)
		}
		const asking = 2 + 1 // for the ends, and apiCalls
		if calls := apiCalls(t, server) - before - asking; (calls > 0) != reads {
			t.Errorf("%s makes %d calls", types, calls)
		}
	}
}

// TestTheTypesOfTheUsesStream are those of what is stored there.
func TestTheTypesOfTheUsesStream(t *testing.T) {
	l := eventstoretest.New(t)
	history(t, l, 12, 20)
	var b eventstore.UseBatch
	b.AddRefused(orgs[0], &domain.CredentialsRefused{Principal: "p", Count: 1, From: noon, To: noon}, 0)
	if _, err := l.AppendUses(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	trail := eventstore.NewTrail(l, nil)
	for _, e := range replayed(t, trail, eventstore.Filter{Reach: domain.All}) {
		if got := replayed(t, trail, eventstore.Filter{Reach: domain.All, Types: []string{domain.TypeOf(e.Event)}}); len(got) == 0 {
			t.Errorf("%s is not found by its type", domain.TypeOf(e.Event))
		}
	}
}

func until(t testing.TB, what string, true func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(20 * time.Second); !true(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// apiCalls counts the requests to JetStream so far, appends left out.
func apiCalls(t testing.TB, s *eventstore.Server) uint64 {
	t.Helper()
	js := eventstoretest.JetStream(t, s)
	info, err := js.AccountInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return info.API.Total
}

// TestACursorAtTheEndIsBehindWhatDidNotMatch: a reader who comes back with it looks at none
// of that again.
func TestACursorAtTheEndIsBehindWhatDidNotMatch(t *testing.T) {
	l := eventstoretest.New(t)
	trail := eventstore.NewTrail(l, nil)
	history(t, l, 5, 30)
	for _, f := range filters[7:] {
		page, err := trail.Page(t.Context(), f, eventstore.Cursor{}, 10)
		if err != nil || !page.AtEnd {
			t.Fatal(page, err)
		}
		for _, s := range eventstore.Streams {
			if end, err := l.End(t.Context(), s); err != nil || page.Next.At[s] != end {
				t.Errorf("%+v: %s is read to %d of %d, %v", f, s, page.Next.At[s], end, err)
			}
		}
	}
}

func TestACursorBeyondTheEndIsRefused(t *testing.T) {
	l := eventstoretest.New(t)
	trail := eventstore.NewTrail(l, nil)
	history(t, l, 6, 5)
	beyond := eventstore.Cursor{At: [2]eventstore.Position{1, 1000}}
	if _, err := trail.Page(t.Context(), eventstore.Filter{Reach: domain.All}, beyond, 10); !errors.Is(err, eventstore.ErrBeyondEnd) {
		t.Errorf("a page: %v", err)
	}
	f := trail.Subscribe(org, eventstore.Filter{Reach: domain.All}, beyond)
	defer f.Close()
	if _, err := f.Next(t.Context(), time.Now(), 10); !errors.Is(err, eventstore.ErrBeyondEnd) {
		t.Errorf("a follower: %v", err)
	}
}

// TestFromBeginsWhereItsTimeWasStored: what is older is not read, and a filter without an
// event in its time is at the end. Every time that can be written in a request is one.
func TestFromBeginsWhereItsTimeWasStored(t *testing.T) {
	l := eventstoretest.New(t)
	trail := eventstore.NewTrail(l, nil)
	history(t, l, 7, 20)
	all := len(replayed(t, trail, eventstore.Filter{Reach: domain.All}))
	year := func(y int) time.Time { return time.Date(y, 1, 1, 0, 0, 0, 0, time.UTC) }
	for from, want := range map[time.Time]int{time.Now().Add(time.Hour): 0, noon: all, year(0): all, year(1600): all, year(1900): all, year(2263): 0, year(9999): 0} {
		page, err := trail.Page(t.Context(), eventstore.Filter{Reach: domain.All, From: from}, eventstore.Cursor{}, 1000)
		if err != nil || len(page.Entries) != want || !page.AtEnd {
			t.Errorf("from %s there are %d, at the end: %t, want %d; %v", from, len(page.Entries), page.AtEnd, want, err)
		}
	}
}

// TestTimesAreLookedUpWithAMargin: what happened before To is found up to ten minutes later on the
// ledger, what happened after From up to a minute before it, and nothing that was stored beyond.
func TestTimesAreLookedUpWithAMargin(t *testing.T) {
	l := eventstoretest.New(t)
	trail := eventstore.NewTrail(l, nil)
	stored := func(at time.Time) eventstore.Raw {
		var b eventstore.UseBatch
		b.Add(org, &domain.KeyUsed{Key: domain.NewKeyID(org, "k"), Code: domain.UseValid, At: at}, 0)
		p, err := l.AppendUses(t.Context(), &b)
		if err != nil {
			t.Fatal(err)
		}
		m, err := l.Message(t.Context(), eventstore.Uses, p)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	past, future := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	late, tooLate := stored(past), stored(past)
	tooEarly, early := stored(future), stored(future)
	for name, c := range map[string]struct {
		filter eventstore.Filter
		want   eventstore.Position
	}{
		"within To, and beyond":   {eventstore.Filter{Reach: domain.All, To: tooLate.Stored.Add(-10 * time.Minute)}, late.Position},
		"within From, and beyond": {eventstore.Filter{Reach: domain.All, From: tooEarly.Stored.Add(time.Minute + 1)}, early.Position},
	} {
		for _, descending := range []bool{false, true} {
			page, err := trail.Page(t.Context(), c.filter, eventstore.Cursor{Descending: descending}, 10)
			if err != nil || len(page.Entries) != 1 || page.Entries[0].Position != c.want {
				t.Errorf("%s, descending %t: %v, not %d; %v", name, descending, identities(page.Entries), c.want, err)
			}
		}
	}
}
