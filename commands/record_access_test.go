package commands_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

func keysRead(r domain.Reading) domain.Sum { return domain.KeysRead{Reading: r} }

func (f fixture) readKey(p domain.Principal, org domain.OrgID, key string) {
	f.RecordRead(commands.DataRead{By: p, Org: org, Of: keysRead, Route: "GET /v1/keys/{id}", Filter: map[string]string{"id": key}})
}

// onRecord are the events about a principal in the trail of an organization.
func (f fixture) onRecord(org domain.OrgID, p domain.Principal) (all []domain.Event) {
	f.t.Helper()
	if _, err := f.ledger.Load(f.t.Context(), eventstore.ReaderRef(org, p), 0, func(r eventstore.Record) {
		all = append(all, r.Event)
		if r.Org != org || r.Actor != p.ID {
			f.t.Errorf("what %v did is of %s by %s", p, r.Org, r.Actor)
		}
	}); err != nil {
		f.t.Fatal(err)
	}
	return all
}

// count is how many occurrences events stand for.
func count(all []domain.Event) (n int) {
	for _, e := range all {
		n += e.(domain.Sum).Occurred().Count
	}
	return n
}

func TestWhatIsReadIsAnEventSoonAndRepeatsAreOneAnHour(t *testing.T) {
	f := setUp(t)
	ann := f.reader("key_ann")
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { f.readKey(ann, f.org, "key_1") })
	}
	wg.Wait()
	now := time.Now()
	f.WriteSumsAt(t.Context(), now)
	f.readKey(ann, f.org, "key_1")
	f.WriteSumsAt(t.Context(), now.Add(59*time.Minute))
	got := f.onRecord(f.org, ann)
	if len(got) != 1 || count(got) != 20 {
		t.Fatalf("within the hour: %+v", got)
	}
	if first := got[0].(domain.KeysRead); first.Route != "GET /v1/keys/{id}" || first.Filter["id"] != "key_1" || first.By != ann.ID || first.First.IsZero() || first.First.After(first.At) {
		t.Errorf("%+v", first)
	}
	for range 3 { // the last two have nothing to tell
		f.WriteSumsAt(t.Context(), now.Add(3*time.Hour))
	}
	if got := f.onRecord(f.org, ann); len(got) != 2 || count(got) != 21 {
		t.Errorf("after the hour: %+v", got)
	}
	f.WriteSumsAt(t.Context(), now.Add(6*time.Hour))
	if n := f.CountedAccesses(); n != 0 {
		t.Errorf("%d sums are left in memory", n)
	}
	f.check(eventstore.ReaderRef(f.org, ann), 2)
}

// TestAReaderOfAKeyASecondIsFewerThanAnEventAMinute whatever keys it reads, and each read is counted.
func TestAReaderOfAKeyASecondIsFewerThanAnEventAMinute(t *testing.T) {
	for _, keys := range []int{1, 15, 10_000} {
		f := setUp(t)
		ann, begin := f.reader("key_ann"), time.Now()
		const hours = 3
		for second := range hours * 3600 {
			f.readKey(ann, f.org, fmt.Sprint("key_", second%keys))
			if second%60 == 0 {
				f.WriteBegun(t.Context())
			}
			if second%3600 == 3599 {
				f.WriteSumsAt(t.Context(), begin.Add(time.Hour).Add(time.Duration(second)*time.Second))
			}
		}
		f.WriteSumsAt(t.Context(), begin.Add(10*time.Hour))
		got := f.onRecord(f.org, ann)
		if len(got) > hours*60 || count(got) != hours*3600 {
			t.Errorf("of %d keys: %d events of %d reads", keys, len(got), count(got))
		}
	}
}

// TestManyReadersAreBounded in memory and in events, and none of their reads is lost: what finds no
// room is of the organization.
func TestManyReadersAreBounded(t *testing.T) {
	f := setUp(t)
	f.SetMaxAccesses(100)
	const readers, each = 1000, 30
	for i := range readers {
		for k := range each {
			f.readKey(f.reader(fmt.Sprint("key_", i)), f.org, fmt.Sprint("key_", k))
		}
	}
	if n := f.CountedAccesses(); n > 101 {
		t.Errorf("%d are counted", n)
	}
	f.WriteSumsAt(t.Context(), time.Now())
	events, total := 0, 0
	for i := range readers {
		got := f.onRecord(f.org, f.reader(fmt.Sprint("key_", i)))
		events, total = events+len(got), total+count(got)
	}
	rest := f.onRecord(f.org, f.reader("several"))
	if events > 100 || len(rest) != 1 || total+count(rest) != readers*each {
		t.Errorf("%d events of %d reads, and %+v", events, total, rest)
	}
}

// TestWhatTheInstallationReadsIsInTheTrailOfThoseItReadOf as far as kinds are told apart.
func TestWhatTheInstallationReadsIsInTheTrailOfThoseItReadOf(t *testing.T) {
	f := setUp(t)
	operator := domain.Principal{ID: "key_operator", Org: domain.Installation}
	for i := range 40 {
		f.readKey(operator, domain.NewOrgID(fmt.Sprint(i)), "key_1")
	}
	f.WriteSumsAt(t.Context(), time.Now())
	if got := f.onRecord(domain.NewOrgID("3"), operator); len(got) != 1 {
		t.Errorf("of the fourth organization: %+v", got)
	}
	rest := f.onRecord(domain.Installation, operator)
	if len(rest) != 1 || rest[0].(domain.KeysRead).Route != domain.Combined || count(rest) != 20 {
		t.Errorf("combined: %+v", rest)
	}
}

// TestRefusalsOfScopeAndReachAreOnRecord and no others.
func TestRefusalsOfScopeAndReachAreOnRecord(t *testing.T) {
	f := setUp(t)
	ann := f.reader("key_ann")
	for range 3 {
		for _, err := range []error{domain.ScopeMissing("keys:read"), fmt.Errorf("wrapped: %w", domain.ErrKeyNotFound), domain.ErrKeyspaceNotFound, domain.ErrRateLimited, context.Canceled, nil} {
			f.RecordRefusal(ann, "GET /v1/keys/{id}", "keys:read", err)
		}
	}
	f.RecordRefusal(domain.Principal{}, "GET /v1/keys", "keys:read", domain.ScopeMissing("keys:read"))
	f.WriteSumsAt(t.Context(), time.Now())
	var codes []string
	for _, e := range f.onRecord(f.org, ann) {
		r := e.(domain.AccessRefused)
		codes = append(codes, r.Code)
		if r.Count != 3 || r.Route != "GET /v1/keys/{id}" || r.Scope != "keys:read" || r.By != ann.ID {
			t.Errorf("%+v", r)
		}
	}
	slices.Sort(codes)
	if strings.Join(codes, " ") != "key_not_found scope_missing" || f.CountedAccesses() != 2 {
		t.Errorf("refused with %v, and %d are counted", codes, f.CountedAccesses())
	}
}

// TestAccessesOutliveAnOutageAndAreWrittenAtTheEnd of the service; a lost acknowledgement makes no second event.
func TestAccessesOutliveAnOutageAndAreWrittenAtTheEnd(t *testing.T) {
	f := setUp(t)
	ann := f.reader("key_ann")
	f.readKey(ann, f.org, "key_1")
	f.ledger.Suspend(domain.ErrStorageFull)
	f.WriteSumsAt(t.Context(), time.Now())
	f.readKey(ann, f.org, "key_1")
	f.ledger.Suspend(nil)
	f.ledger.loseAck = 1
	f.WriteSumsAt(t.Context(), time.Now().Add(time.Minute))
	if got := f.onRecord(f.org, ann); len(got) != 1 || count(got) != 2 {
		t.Errorf("after the outage: %+v", got)
	}
	f.readKey(ann, f.org, "key_1") // a repeat
	f.readKey(ann, f.org, "key_2") // a beginning
	stopped, stop := context.WithCancel(t.Context())
	stop()
	f.WriteSums(stopped)
	if got := f.onRecord(f.org, ann); len(got) != 3 || count(got) != 4 {
		t.Errorf("at the end: %+v", got)
	}
	f.check(eventstore.ReaderRef(f.org, ann), 3)
}
