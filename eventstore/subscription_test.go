package eventstore_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
)

// TestAFilterMatchesItsOrganizationAlone: between tenants there is nothing else.
func TestAFilterMatchesItsOrganizationAlone(t *testing.T) {
	l := eventstoretest.New(t)
	trail := eventstore.NewTrail(l, nil)
	follower := trail.Subscribe(org, eventstore.Filter{Reach: domain.Only(orgs[0])}, eventstore.Cursor{})
	defer follower.Close()
	history(t, l, 2, 60)
	seen := collect(t, follower, len(replayed(t, trail, eventstore.Filter{Reach: domain.Only(orgs[0])})), 5)
	for _, e := range seen {
		if e.Org != orgs[0] {
			t.Errorf("%s is of %s", e.Identity(), e.Org)
		}
	}
}

// collect reads what a follower gets until there are n entries.
func collect(t testing.TB, f *eventstore.Subscription, n, limit int) (got []*eventstore.Entry) {
	t.Helper()
	for len(got) < n {
		page, err := f.Next(t.Context(), time.Now().Add(10*time.Second), limit)
		if err != nil || len(page.Entries) == 0 || len(page.Entries) > limit {
			t.Fatalf("after %d of %d there come %d: %v", len(got), n, len(page.Entries), err)
		}
		got = append(got, page.Entries...)
	}
	return got
}

// TestFollowersMissNothing lets followers of all kinds, from before, amid and after, read
// while the trail grows, out of a ring so small that all of them fall out of it. Each gets
// what a replay gets, once, each stream in order.
func TestFollowersMissNothing(t *testing.T) {
	l := eventstoretest.New(t)
	trail := eventstore.NewTrail(l, nil)
	trail.SetRing(8)
	history(t, l, 3, 30)
	middle, err := trail.Page(t.Context(), eventstore.Filter{Reach: domain.All}, eventstore.Cursor{}, 20)
	if err != nil {
		t.Fatal(err)
	}
	end, err := trail.Page(t.Context(), eventstore.Filter{Reach: domain.All}, eventstore.Cursor{}, 1000)
	if err != nil || !end.AtEnd {
		t.Fatal(err, end.AtEnd)
	}
	stop, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	got := map[int][]*eventstore.Entry{}
	count := func(i int) int { mu.Lock(); defer mu.Unlock(); return len(got[i]) }
	var followers sync.WaitGroup
	starts := []eventstore.Cursor{{}, middle.Next, end.Next}
	for i := range starts {
		for j, f := range filters {
			number := i*len(filters) + j
			follower := trail.Subscribe(org, f, starts[i])
			followers.Go(func() {
				defer func() { follower.Close() }()
				for stop.Err() == nil {
					page, err := follower.Next(stop, time.Now().Add(time.Second), 1+number%7)
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					got[number] = append(got[number], page.Entries...)
					mu.Unlock()
					if number%5 == 0 { // as a client that connects again
						follower.Close()
						follower = trail.Subscribe(org, f, page.Next)
					}
				}
			})
		}
	}
	for round := range 5 {
		history(t, l, uint64(100+round), 20)
	}
	for i := range starts {
		already := identities(nil)
		if i > 0 {
			already = identities(replayedTo(t, trail, starts[i]))
		}
		for j, f := range filters {
			number := i*len(filters) + j
			want := slices.DeleteFunc(identities(replayed(t, trail, f)), func(id string) bool { return slices.Contains(already, id) })
			until(t, fmt.Sprintf("follower %d has %d entries", number, len(want)), func() bool { return count(number) >= len(want) })
			mu.Lock()
			have := identities(got[number])
			mu.Unlock()
			for _, stream := range []string{"events", "uses"} {
				other := func(id string) bool { return id[:4] != stream[:4] }
				if a, b := slices.DeleteFunc(slices.Clone(have), other), slices.DeleteFunc(slices.Clone(want), other); !slices.Equal(a, b) {
					t.Errorf("follower %d of %+v got %v, want %v", number, f, a, b)
				}
			}
		}
	}
	cancel()
	followers.Wait()
	until(t, "the tail has ended", func() bool { return consumers(t, l) == 0 })
}

// TestASlowReaderFallsOutOfTheRing and misses nothing: it reads the ledger until it is back.
func TestASlowReaderFallsOutOfTheRing(t *testing.T) {
	l := eventstoretest.New(t)
	trail := eventstore.NewTrail(l, nil)
	trail.SetRing(8)
	slow, quick := trail.Subscribe(org, eventstore.Filter{Reach: domain.All}, eventstore.Cursor{}), trail.Subscribe(org, eventstore.Filter{Reach: domain.All}, eventstore.Cursor{})
	defer slow.Close()
	defer quick.Close()
	for _, s := range []*eventstore.Subscription{slow, quick} {
		if _, err := s.Next(t.Context(), time.Now(), 10); err != nil {
			t.Fatal(err)
		}
	}
	const messages = 30
	for range messages {
		use(t, l, orgs[0], "k", 3)
		collect(t, quick, 3, 10) // the tail has it
	}
	if got, want := identities(collect(t, slow, 3*messages, 7)), identities(replayed(t, trail, eventstore.Filter{Reach: domain.All})); !slices.Equal(got, want) {
		t.Errorf("it got %v, want %v", got, want)
	}
}

// replayedTo is what lies before a cursor.
func replayedTo(t testing.TB, trail *eventstore.Trail, c eventstore.Cursor) (before []*eventstore.Entry) {
	after := map[string]bool{}
	if err := trail.Replay(t.Context(), eventstore.Filter{Reach: domain.All}, c, func(r *eventstore.Record) error {
		after[identities([]*eventstore.Entry{{Record: *r}})[0]] = true
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, e := range replayed(t, trail, eventstore.Filter{Reach: domain.All}) {
		if !after[identities([]*eventstore.Entry{e})[0]] {
			before = append(before, e)
		}
	}
	return before
}

func consumers(t testing.TB, l *eventstore.Ledger) (n int) {
	t.Helper()
	for _, s := range eventstore.Streams {
		of, err := l.Consumers(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		n += of
	}
	return n
}

// TestFollowersCostTheLedgerNothing: 50 followers with filters that nothing matches share one
// reader a stream, make no call, and their cursors move on all the same.
func TestFollowersCostTheLedgerNothing(t *testing.T) {
	server := eventstoretest.Server(t)
	l := eventstoretest.Open(t, server)
	trail := eventstore.NewTrail(l, nil)
	history(t, l, 4, 10)
	var followers []*eventstore.Subscription
	for i := range 50 {
		f := trail.Subscribe(org, filters[7+i%2], eventstore.Cursor{})
		defer f.Close()
		if _, err := f.Next(t.Context(), time.Now(), 10); err != nil {
			t.Fatal(err)
		}
		followers = append(followers, f)
	}
	var last eventstore.Position
	before := apiCalls(t, server)
	for range 100 {
		last = use(t, l, orgs[0], "k", 1)
	}
	for _, f := range followers {
		until(t, "its cursor is behind what did not match", func() bool {
			page, err := f.Next(t.Context(), time.Now(), 10)
			if err != nil || len(page.Entries) > 0 {
				t.Fatal(page, err)
			}
			return page.Next.At[eventstore.Uses] == last
		})
	}
	if calls := apiCalls(t, server) - before; calls > 1 { // its own
		t.Errorf("%d calls for 50 followers and 100 uses", calls)
	}
	if n := consumers(t, l); n != 2 {
		t.Errorf("there are %d consumers", n)
	}
}

func TestAnEventIsEncodedOnceForAllFollowers(t *testing.T) {
	l := eventstoretest.New(t)
	trail := eventstore.NewTrail(l, nil)
	var pages [2][]byte
	var followers [2]*eventstore.Subscription
	for i := range followers {
		followers[i] = trail.Subscribe(org, eventstore.Filter{Reach: domain.All}, eventstore.Cursor{})
		defer followers[i].Close()
		if _, err := followers[i].Next(t.Context(), time.Now(), 10); err != nil {
			t.Fatal(err)
		}
	}
	use(t, l, orgs[0], "k", 1)
	for i, f := range followers {
		var err error
		if pages[i], err = collect(t, f, 1, 10)[0].CloudEvent(); err != nil {
			t.Fatal(err)
		}
	}
	if &pages[0][0] != &pages[1][0] {
		t.Error("it is encoded twice")
	}
}

// TestAFollowerBreaksAtAnEventThatIsNotUnderstood, behind those before it, and one who begins
// after it goes on.
func TestAFollowerBreaksAtAnEventThatIsNotUnderstood(t *testing.T) {
	server := eventstoretest.Server(t)
	l := eventstoretest.Open(t, server)
	trail := eventstore.NewTrail(l, nil)
	f := trail.Subscribe(org, eventstore.Filter{Reach: domain.All}, eventstore.Cursor{})
	defer f.Close()
	if _, err := f.Next(t.Context(), time.Now(), 10); err != nil {
		t.Fatal(err)
	}
	before := created(1)
	if _, err := l.Append(t.Context(), eventstore.KeyRef(before.Org, before.ID), 0, eventstore.Command{ID: "c"}, before); err != nil {
		t.Fatal(err)
	}
	nc, err := server.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := nc.RequestMsg(&nats.Msg{Subject: "keytrail.events.x.key.y", Header: nats.Header{"Event-Type": {"key.teleported"}}, Data: []byte(`{"data":{}}`)}, time.Second); err != nil {
		t.Fatal(err)
	}
	events := 0
	for {
		page, err := f.Next(t.Context(), time.Now().Add(10*time.Second), 10)
		if err != nil {
			break
		}
		if events += len(page.Entries); len(page.Entries) == 0 {
			t.Fatal("it goes on")
		}
	}
	if events == 0 {
		t.Error("what came before is missing")
	}
	end, err := l.End(t.Context(), eventstore.Events)
	if err != nil {
		t.Fatal(err)
	}
	after := trail.Subscribe(org, eventstore.Filter{Reach: domain.All, Types: []string{"key.created"}}, eventstore.Cursor{At: [2]eventstore.Position{end}})
	defer after.Close()
	if _, err := after.Next(t.Context(), time.Now(), 10); err != nil {
		t.Fatal(err)
	}
	history(t, l, 9, 30)
	collect(t, after, 1, 10)
}

// TestNextWithAnEndedContext asks while the tail moves the same cursor: the race detector finds
// a Next that reads it without the lock.
func TestNextWithAnEndedContext(t *testing.T) {
	l := eventstoretest.New(t)
	trail := eventstore.NewTrail(l, nil)
	s := trail.Subscribe(org, eventstore.Filter{Reach: domain.Only(orgs[0])}, eventstore.Cursor{})
	defer s.Close()
	if _, err := s.Next(t.Context(), time.Now(), 10); err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 {
		use(t, l, orgs[1], "k", 1) // the cursor is to move past it
		use(t, l, orgs[0], "k", 1)
		for range 10 {
			if _, err := s.Next(ended, time.Now(), 10); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestAFullPageOfASubscriptionKnowsWhetherItIsTheLast: the ring has what comes after it.
func TestAFullPageOfASubscriptionKnowsWhetherItIsTheLast(t *testing.T) {
	l := eventstoretest.New(t)
	s := eventstore.NewTrail(l, nil).Subscribe(org, eventstore.Filter{Reach: domain.Only(orgs[0])}, eventstore.Cursor{})
	defer s.Close()
	if _, err := s.Next(t.Context(), time.Now(), 1); err != nil { // it is in the ring now
		t.Fatal(err)
	}
	use(t, l, orgs[0], "k", 3)
	use(t, l, orgs[1], "k", 3)
	for _, last := range []bool{false, true} {
		page, err := s.Next(t.Context(), time.Now().Add(10*time.Second), 2)
		if err != nil || len(page.Entries) == 0 {
			t.Fatal(page, err)
		}
		if full := len(page.Entries) == 2; full == last || page.AtEnd != last {
			t.Errorf("a page with %d entries is at the end: %t", len(page.Entries), page.AtEnd)
		}
	}
	use(t, l, orgs[0], "k", 2)
	if page, err := s.Next(t.Context(), time.Now().Add(10*time.Second), 2); err != nil || len(page.Entries) != 2 || !page.AtEnd {
		t.Errorf("the last page has %d entries, is at the end: %t; %v", len(page.Entries), page.AtEnd, err)
	}
}

// A slowIndex does not come to an end for one organization.
type slowIndex struct {
	*partialIndex
	org   domain.OrgID
	asked chan struct{}
}

func (x *slowIndex) Uses(ctx context.Context, q eventstore.UseQuery, each func(*eventstore.Raw) (bool, error)) error {
	if q.Org == x.org {
		x.asked <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}
	return x.partialIndex.Uses(ctx, q, each)
}

// TestAnOrganizationThatCatchesUpLeavesTheLedgerToOthers: many of its followers read the ledger,
// which takes long, and more wait; of them none longer than it is to. Another organization's
// follower comes through.
func TestAnOrganizationThatCatchesUpLeavesTheLedgerToOthers(t *testing.T) {
	l := eventstoretest.New(t)
	for range 20 {
		use(t, l, orgs[0], "k", 1)
		use(t, l, orgs[1], "k", 1)
	}
	index := &slowIndex{newPartialIndex(t, l), orgs[0], make(chan struct{})}
	trail := eventstore.NewTrail(l, index)
	ctx, cancel := context.WithCancel(t.Context())
	var hostile sync.WaitGroup
	defer hostile.Wait()
	defer cancel()
	for range 20 {
		s := trail.Subscribe(orgs[0], eventstore.Filter{Reach: domain.Only(orgs[0])}, eventstore.Cursor{})
		hostile.Go(func() {
			defer s.Close()
			_, _ = s.Next(ctx, time.Now().Add(time.Hour), 10)
		})
	}
	for range 2 { // as many as it may have
		<-index.asked
	}
	waiting := trail.Subscribe(orgs[0], eventstore.Filter{Reach: domain.Only(orgs[0])}, eventstore.Cursor{})
	defer waiting.Close()
	if page, err := waiting.Next(t.Context(), time.Now().Add(10*time.Millisecond), 10); err != nil || len(page.Entries) > 0 || page.AtEnd {
		t.Errorf("while it waits for its turn it gets %+v, %v", page, err)
	}
	other := trail.Subscribe(orgs[1], eventstore.Filter{Reach: domain.Only(orgs[1])}, eventstore.Cursor{})
	defer other.Close()
	collect(t, other, 20, 7)
}

// TestALiveUseComesAfterTheEventItWasDecidedAt, though it was stored before it was read.
func TestALiveUseComesAfterTheEventItWasDecidedAt(t *testing.T) {
	l := eventstoretest.New(t)
	trail := eventstore.NewTrail(l, nil)
	s := trail.Subscribe(org, eventstore.Filter{Reach: domain.All}, eventstore.Cursor{})
	defer s.Close()
	if _, err := s.Next(t.Context(), time.Now(), 1); err != nil {
		t.Fatal(err)
	}
	var b eventstore.UseBatch
	b.Add(org, &domain.KeyUsed{Key: domain.NewKeyID(org, "k"), Code: domain.UseValid, At: noon}, 1)
	if _, err := l.AppendUses(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	if page, err := s.Next(t.Context(), time.Now().Add(100*time.Millisecond), 1); err != nil || len(page.Entries) != 0 {
		t.Fatalf("%d entries before the event: %v", len(page.Entries), err)
	}
	if _, err := l.Append(t.Context(), eventstore.KeyRef(org, domain.NewKeyID(org, "k")), 0, eventstore.Command{ID: "1"}, created(1)); err != nil {
		t.Fatal(err)
	}
	got := identities(collect(t, s, 2, 1))
	if want := []string{"events 1", "uses 1.0"}; !slices.Equal(got, want) {
		t.Errorf("it got %v, want %v", got, want)
	}
}

// TestASinkIsToldWhatWasPruned, and goes on after it.
func TestASinkIsToldWhatWasPruned(t *testing.T) {
	server := eventstoretest.Server(t)
	l, js := eventstoretest.Open(t, server), eventstoretest.JetStream(t, server)
	for range 5 {
		use(t, l, orgs[0], "k", 1)
	}
	trail := eventstore.NewTrail(l, nil)
	stream, err := js.Stream(t.Context(), "KEYTRAIL_USES")
	if err == nil {
		err = stream.Purge(t.Context(), jetstream.WithPurgeSequence(4))
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		types []string
		at    eventstore.Position
		want  eventstore.Span
	}{
		{"it had read some", nil, 1, eventstore.Span{From: 2, To: 3}},
		{"it had read all that is gone", nil, 3, eventstore.Span{}},
		{"it begins at the beginning", nil, 0, eventstore.Span{}},
		{"it wants no uses", []string{"key.revoked"}, 1, eventstore.Span{}},
	} {
		s := trail.SubscribeSink(orgs[0], eventstore.Filter{Reach: domain.All, Types: c.types}, eventstore.CursorAfter(0, c.at))
		page, err := s.Next(t.Context(), time.Now().Add(time.Millisecond), 10)
		s.Close()
		if err != nil || page.Pruned != c.want {
			t.Errorf("%s: %+v, want %+v: %v", c.name, page.Pruned, c.want, err)
		}
	}
}
