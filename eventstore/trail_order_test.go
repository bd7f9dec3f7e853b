package eventstore_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
	"github.com/keytrail/keytrail/projections"
)

// readModel is one that has the whole ledger.
func readModel(t testing.TB, l *eventstore.Ledger) *projections.Store {
	t.Helper()
	s, err := projections.Open(t.TempDir(), projections.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := errors.Join(<-done, s.Close()); err != nil {
			t.Error(err)
		}
	})
	for _, stream := range eventstore.Streams {
		end, err := l.End(t.Context(), stream)
		if err != nil {
			t.Fatal(err)
		}
		until(t, "the read model has all", func() bool { return s.Indexed(stream) >= end })
	}
	return s
}

// A partialIndex has the first half of each stream, and names messages that are not asked for
// among the others.
type partialIndex struct {
	end    [2]eventstore.Position
	uses   []eventstore.Raw
	events []eventstore.Record
	of     map[eventstore.Position][]eventstore.Record // the uses of a message
}

func newPartialIndex(t testing.TB, l *eventstore.Ledger) *partialIndex {
	t.Helper()
	x := &partialIndex{of: map[eventstore.Position][]eventstore.Record{}}
	for _, s := range eventstore.Streams {
		end, err := l.End(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		x.end[s] = end / 2
		err = l.Read(t.Context(), eventstore.Query{Stream: s, Reach: domain.All, Upto: x.end[s]}, func(b eventstore.Batch) error {
			if s == eventstore.Events {
				x.events = append(x.events, b.Records...)
				return nil
			}
			x.uses = append(x.uses, b.Messages...)
			for _, r := range b.Records {
				x.of[r.Position] = append(x.of[r.Position], r)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return x
}

func (x *partialIndex) Indexed(s eventstore.Stream) eventstore.Position { return x.end[s] }

func (x *partialIndex) Uses(_ context.Context, q eventstore.UseQuery, each func(*eventstore.Raw) (bool, error)) error {
	random := rand.New(rand.NewPCG(1, 0))
	for _, raw := range inOrder(x.uses, q.Descending) {
		named := slices.ContainsFunc(x.of[raw.Position], func(r eventstore.Record) bool {
			u, _ := r.Event.(domain.KeyUsed)
			return (q.Org == "" || r.Org == q.Org) && (q.Key == "" || u.Key == q.Key) && (q.Code == "" || u.Code == q.Code || u.Code == "" && q.Code == domain.UseNotFound)
		})
		if raw.Position <= q.After || raw.Position > q.Upto || !named && random.IntN(4) > 0 {
			continue
		}
		if more, err := each(&raw); !more || err != nil {
			return err
		}
	}
	return nil
}

func (x *partialIndex) OrgEvents(_ context.Context, org domain.OrgID, after, upto eventstore.Position, descending bool, each func(eventstore.Position) bool) error {
	for _, r := range inOrder(x.events, descending) {
		if r.Org == org && r.Position > after && r.Position <= upto && !each(r.Position) {
			return nil
		}
	}
	return nil
}

func inOrder[T any](all []T, descending bool) []T {
	all = slices.Clone(all)
	if descending {
		slices.Reverse(all)
	}
	return all
}

// diverse appends a history of both streams: uses of all organizations share messages, and
// were decided at positions that, if nodes lag, fall as well as rise.
func diverse(t testing.TB, l *eventstore.Ledger, seed uint64, lag bool) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 1))
	var end eventstore.Position
	for i := range 40 {
		at := orgs[random.IntN(len(orgs))]
		if random.IntN(2) == 0 {
			e := created(i)
			e.ID, e.Org = domain.NewKeyID(at, fmt.Sprint("another ", i)), at
			var err error
			if end, err = l.Append(t.Context(), eventstore.KeyRef(at, e.ID), 0, eventstore.Command{ID: "c", Actor: "p0"}, e); err != nil {
				t.Fatal(err)
			}
			continue
		}
		var b eventstore.UseBatch
		for range 1 + random.IntN(12) {
			appendRandomUse(&b, random, end, lag)
		}
		if _, err := l.AppendUses(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
	}
	e := created(1000)
	e.ID, e.Org = domain.NewKeyID(orgs[1], "key 3"), orgs[1]
	end = 0
	for i, event := range []domain.Event{e, domain.KeyDisabled{Header: domain.Header{At: noon}}, domain.KeyEnabled{Header: domain.Header{At: noon}}, domain.KeyDisabled{Header: domain.Header{At: noon}}} {
		var err error
		if end, err = l.Append(t.Context(), eventstore.KeyRef(orgs[1], e.ID), end, eventstore.Command{ID: fmt.Sprint(i)}, event); err != nil {
			t.Fatal(err)
		}
	}
}

func appendRandomUse(b *eventstore.UseBatch, random *rand.Rand, decided eventstore.Position, lag bool) {
	if lag && random.IntN(2) == 0 {
		decided = eventstore.Position(random.IntN(int(decided) + 1))
	}
	org := orgs[random.IntN(len(orgs))]
	if random.IntN(8) == 0 {
		b.AddRefused(org, &domain.CredentialsRefused{Principal: "p1", Count: 2, From: noon, To: noon}, decided)
		return
	}
	u := domain.KeyUsed{Key: domain.NewKeyID(org, fmt.Sprint("key ", random.IntN(5))), Code: domain.Outcomes[random.IntN(3)], IP: addresses[random.IntN(len(addresses))],
		Principal: fmt.Sprint("p", random.IntN(2)), Resource: resources[random.IntN(len(resources))], At: noon}
	if random.IntN(8) == 0 {
		u.Count, u.First, u.Addresses, u.Resources = 2, noon, addresses, resources[1:2]
	}
	b.Add(org, &u, decided)
}

var resources = []string{"", "GET /v1/a", "GET /v1/b", "POST /v1/a"}

var addresses = []string{"", "192.0.2.7", "198.51.100.1", "2001:db8::1"}

// constraints are what a filter may be narrowed by.
var constraints = []func(*eventstore.Filter){
	func(f *eventstore.Filter) { f.Key = domain.NewKeyID(orgs[1], "key 3") },
	func(f *eventstore.Filter) { f.Key = domain.NewKeyID(orgs[0], "key 1") },
	func(f *eventstore.Filter) { f.Types = []string{"key.used"} },
	func(f *eventstore.Filter) { f.Types = []string{"key.created", "credentials.refused"} },
	func(f *eventstore.Filter) { f.Types = []string{"key.disabled"} },
	func(f *eventstore.Filter) { f.Codes = []domain.Outcome{domain.UseRevoked} },
	func(f *eventstore.Filter) { f.Codes = []domain.Outcome{domain.UseNotFound} },
	func(f *eventstore.Filter) { f.Codes = []domain.Outcome{domain.UseNotFound, domain.UseValid} },
	func(f *eventstore.Filter) { f.Actor = "p1" },
	func(f *eventstore.Filter) { f.Resource = "/v1/a" },
	func(f *eventstore.Filter) { f.Network = netip.MustParsePrefix("192.0.2.0/24") },
	func(f *eventstore.Filter) { f.From = noon },
	func(f *eventstore.Filter) { f.From = time.Now() },
	func(f *eventstore.Filter) { f.To = time.Now() },
	func(f *eventstore.Filter) { f.To = noon.Add(-24 * 365 * time.Hour) },
}

// drawFilter makes filters with few constraints: with many nothing would be left.
func drawFilter(t *rapid.T) (f eventstore.Filter) {
	f.Reach = rapid.SampledFrom([]domain.Reach{domain.All, domain.All, domain.Only(orgs[0]), domain.Only(orgs[1]), domain.Only(domain.NewOrgID("nobody")), {}}).Draw(t, "reach")
	for _, i := range rapid.SliceOfN(rapid.IntRange(0, len(constraints)-1), 0, 2).Draw(t, "constraints") {
		constraints[i](&f)
	}
	return f
}

// readPages reads all by pages, the cursor in its text.
func readPages(t *rapid.T, trail *eventstore.Trail, f eventstore.Filter, c eventstore.Cursor, limit, want int) (got []*eventstore.Entry) {
	t.Helper()
	for pages := 0; ; pages++ {
		page, err := trail.Page(context.Background(), f, c, limit)
		if err != nil || len(page.Entries) > limit || pages > want/limit+1 {
			t.Fatalf("page %d of %+v has %d entries of %d: %v", pages, f, len(page.Entries), limit, err)
		}
		got = append(got, page.Entries...)
		if c, err = eventstore.ParseCursor(page.Next.String()); err != nil {
			t.Fatal(err)
		}
		if page.AtEnd != (len(got) >= want) {
			t.Fatalf("after %d of %d it is at the end: %t", len(got), want, page.AtEnd)
		}
		if page.AtEnd {
			demandAtEnd(t, trail, f, c)
			return got
		}
	}
}

// demandAtEnd demands of a cursor that nothing is looked at again that was looked at.
func demandAtEnd(t *rapid.T, trail *eventstore.Trail, f eventstore.Filter, c eventstore.Cursor) {
	t.Helper()
	if !f.From.IsZero() || !f.To.IsZero() {
		return // it is at the end of what was asked for
	}
	end := eventstore.Cursor{At: [2]eventstore.Position{1, 1}}
	if !c.Descending {
		rest, err := trail.Page(context.Background(), eventstore.Filter{}, eventstore.Cursor{}, 1)
		if err != nil {
			t.Fatal(err)
		}
		end = rest.Next // nothing matches: of all
	}
	if c.At != end.At {
		t.Fatalf("at the end the cursor is at %v, not at %v", c.At, end.At)
	}
}

// plainTrail is all that both streams have and f chooses, merged by the rule.
func plainTrail(t *rapid.T, streams [2][]eventstore.Record, f eventstore.Filter) (all []*eventstore.Entry) {
	var chosen [2][]eventstore.Record
	for s, records := range streams {
		for _, r := range records {
			if f.Matches(&r) {
				chosen[s] = append(chosen[s], r)
			}
		}
	}
	events := chosen[eventstore.Events]
	for _, u := range chosen[eventstore.Uses] {
		for len(events) > 0 && events[0].Position <= u.Decided {
			all, events = append(all, &eventstore.Entry{Record: events[0]}), events[1:]
		}
		all = append(all, &eventstore.Entry{Record: u})
	}
	for _, e := range events {
		all = append(all, &eventstore.Entry{Record: e})
	}
	return all
}

func readStreams(t testing.TB, l *eventstore.Ledger) (all [2][]eventstore.Record) {
	t.Helper()
	for _, s := range eventstore.Streams {
		if err := l.Read(t.Context(), eventstore.Query{Stream: s, Reach: domain.All}, func(b eventstore.Batch) error {
			all[s] = append(all[s], b.Records...)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// TestPagesAreThePlainList reads with any filter, in both orders, by pages of any size, with
// the read model as its index, with one that has half of the ledger, and with none, and
// compares with the list of all records. Where positions fall along the stream of uses, the order between the streams
// descending is not exact across batches; that of each stream is.
func TestPagesAreThePlainList(t *testing.T) {
	eventstore.SetReplayRecords(t, 5)
	for name, lag := range map[string]bool{"nodes agree": false, "nodes lag": true} {
		t.Run(name, func(t *testing.T) {
			l := eventstoretest.New(t)
			diverse(t, l, 1, lag)
			streams := readStreams(t, l)
			indexes := map[string]eventstore.TrailIndex{"none": nil, "all": readModel(t, l), "half": newPartialIndex(t, l)}
			rapid.Check(t, func(t *rapid.T) {
				f := drawFilter(t)
				index := rapid.SampledFrom([]string{"none", "half", "all"}).Draw(t, "index")
				trail := eventstore.NewTrail(l, indexes[index])
				limit := rapid.SampledFrom([]int{4, 1000}).Draw(t, "limit")
				plain := plainTrail(t, streams, f)
				back := slices.Clone(plain)
				slices.Reverse(back)
				exact := !lag || index == "all" && limit == 1000 // uses in one batch
				compare(t, readPages(t, trail, f, eventstore.Cursor{}, limit, len(plain)), plain, true)
				compare(t, readAll(t, trail, f, eventstore.Cursor{}), plain, true)
				compare(t, readPages(t, trail, f, eventstore.Cursor{Descending: true}, limit, len(plain)), back, exact)
				compare(t, readAll(t, trail, f, eventstore.Cursor{Descending: true}), back, !lag)
			})
		})
	}
}

func readAll(t *rapid.T, trail *eventstore.Trail, f eventstore.Filter, c eventstore.Cursor) (all []*eventstore.Entry) {
	if err := trail.Replay(context.Background(), f, c, func(r *eventstore.Record) error {
		all = append(all, &eventstore.Entry{Record: *r})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// compare wants the same entries in the same order or, unless exact, in each stream's order.
func compare(t *rapid.T, got, want []*eventstore.Entry, exact bool) {
	t.Helper()
	if !exact {
		got, want = byStream(got), byStream(want)
	}
	if got, want := identities(got), identities(want); !slices.Equal(got, want) {
		t.Fatalf("it is\n%v, not\n%v", got, want)
	}
}

// byStream puts the events before the uses and keeps the order of each.
func byStream(all []*eventstore.Entry) []*eventstore.Entry {
	return slices.SortedStableFunc(slices.Values(all), func(a, b *eventstore.Entry) int { return int(a.Stream) - int(b.Stream) })
}

// TestNoUseComesBeforeItsEvent while the trail grows: whatever of it a page has.
func TestNoUseComesBeforeItsEvent(t *testing.T) {
	l := eventstoretest.New(t)
	trail := eventstore.NewTrail(l, nil)
	const pairs = 200
	appended := make(chan error, 1)
	go func() {
		var err error
		for i := range pairs {
			e := created(i)
			p, err1 := l.Append(context.Background(), eventstore.KeyRef(org, e.ID), 0, eventstore.Command{ID: "c"}, e)
			var b eventstore.UseBatch
			b.Add(org, &domain.KeyUsed{Key: e.ID, Code: domain.UseValid, At: noon}, p)
			_, err2 := l.AppendUses(context.Background(), &b)
			err = errors.Join(err, err1, err2)
		}
		appended <- err
	}()
	var c eventstore.Cursor
	var known eventstore.Position
	for seen := 0; seen < 2*pairs; {
		page, err := trail.Page(t.Context(), eventstore.Filter{Reach: domain.All}, c, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Entries {
			if e.Stream == eventstore.Events {
				known = e.Position
			}
			if e.Decided > known {
				t.Fatalf("a use that was decided at %d comes after the event at %d", e.Decided, known)
			}
		}
		seen, c = seen+len(page.Entries), page.Next
	}
	if err := <-appended; err != nil {
		t.Fatal(err)
	}
}
