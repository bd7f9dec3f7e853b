package commands_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

func (f fixture) reader(id string) domain.Principal { return domain.Principal{ID: id, Org: f.org} }

func (f fixture) read(p domain.Principal, a domain.TrailAccess, filter string) error {
	return f.ReadTrail(f.t.Context(), commands.ReadTrail{Request: by(p), Access: a, Filter: map[string]string{"key_id": filter}})
}

// reads are those of a reader on the ledger.
func (f fixture) reads(p domain.Principal) (all []domain.TrailRead) {
	f.t.Helper()
	if _, err := f.ledger.Load(f.t.Context(), eventstore.ReaderRef(p.Org, p), 0, func(r eventstore.Record) {
		all = append(all, r.Event.(domain.TrailRead))
		if r.Org != p.Org || r.Actor != p.ID {
			f.t.Errorf("a read of %v is of %s by %s", p, r.Org, r.Actor)
		}
	}); err != nil {
		f.t.Fatal(err)
	}
	return all
}

func TestTheFirstReadIsAnEventAndRepeatsAreOneAnHour(t *testing.T) {
	f := setUp(t)
	ann, bob := f.reader("key_ann"), f.reader("key_bob")
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if err := f.read(ann, domain.AccessPage, "k"); err != nil || len(f.reads(ann)) == 0 {
				t.Errorf("answered before the read was on the ledger: %v", err)
			}
		})
	}
	wg.Wait()
	if err := f.read(bob, domain.AccessPage, "k"); err != nil {
		t.Fatal(err)
	}
	if got := f.reads(ann); len(got) != 1 || got[0].Count != 1 || got[0].By != ann.ID || got[0].Filter["key_id"] != "k" || got[0].Access != domain.AccessPage {
		t.Errorf("at first: %+v", got)
	}
	f.WriteSumsAt(t.Context(), time.Now().Add(59*time.Minute))
	if got := f.reads(ann); len(got) != 1 {
		t.Errorf("within the hour: %+v", got)
	}
	for range 3 { // the last two have nothing to tell
		f.WriteSumsAt(t.Context(), time.Now().Add(3*time.Hour))
	}
	if got := f.reads(ann); len(got) != 2 || got[1].Count != 19 || got[1].First.After(got[1].At) {
		t.Errorf("after the hour: %+v", got)
	}
	if got := f.reads(bob); len(got) != 1 || f.CountedReads() != 1 {
		t.Errorf("of another reader: %+v, and %d are counted", got, f.CountedReads())
	}
	f.check(eventstore.ReaderRef(ann.Org, ann), 2)
}

func TestAFollowIsOneEventAnHour(t *testing.T) {
	f := setUp(t)
	ann := f.reader("key_ann")
	if err := f.read(ann, domain.AccessFollow, "k"); err != nil {
		t.Fatal(err)
	}
	for hour := range 3 {
		for range 500 { // among them deliveries of its own reads
			if err := f.ReadTrail(t.Context(), commands.ReadTrail{Request: by(ann), Access: domain.AccessFollow, Filter: map[string]string{"key_id": "k"}, Continued: true}); err != nil {
				t.Fatal(err)
			}
		}
		f.WriteSumsAt(t.Context(), time.Now().Add(time.Duration(hour+1)*61*time.Minute))
		if got := f.reads(ann); len(got) != hour+2 || got[hour+1].Count != 1 {
			t.Fatalf("after %d hours: %+v", hour+1, got)
		}
	}
}

func TestAReaderCannotFloodTheTrail(t *testing.T) {
	f := setUp(t)
	ann := f.reader("key_ann")
	for i := range 500 {
		if err := f.read(ann, domain.AccessPage, fmt.Sprint(i, strings.Repeat("é", 5000))); err != nil {
			t.Fatal(err)
		}
	}
	got := f.reads(ann)
	last := got[len(got)-1]
	if len(got) != 61 || last.Access != domain.AccessCombined || len(last.Filter) != 0 || len(got[0].Filter["key_id"]) > 200 {
		t.Errorf("%d events, the last one %+v", len(got), last)
	}
	f.WriteSumsAt(t.Context(), time.Now().Add(2*time.Hour))
	if got := f.reads(ann); len(got) != 62 || got[61].Count != 439 {
		t.Errorf("an hour later %d events, the last one %+v", len(got), got[len(got)-1])
	}
	f.WriteSumsAt(t.Context(), time.Now().Add(4*time.Hour))
	if n := f.CountedReads(); n != 0 {
		t.Errorf("%d readings are left in memory", n)
	}
}

func TestReadsThatFindNoRoomAreEvents(t *testing.T) {
	f := setUp(t)
	f.SetMaxTrailReads(2)
	for i := range 4 {
		for range 2 {
			if err := f.read(f.reader(fmt.Sprint("key_", i)), domain.AccessPage, "k"); err != nil {
				t.Fatal(err)
			}
		}
		if got, want := len(f.reads(f.reader(fmt.Sprint("key_", i)))), 1+i/2; got != want || f.CountedReads() > 2 {
			t.Errorf("reader %d has %d events, want %d; %d are counted", i, got, want, f.CountedReads())
		}
	}
}

// TestAReadIsRefusedWhenItCannotBeWritten before and after it was: the trail is not read behind
// its own back, and a lost acknowledgement makes no second event.
func TestAReadIsRefusedWhenItCannotBeWritten(t *testing.T) {
	f := setUp(t)
	ann := f.reader("key_ann")
	down := domain.ErrStorageFull
	f.ledger.Suspend(down)
	if err := f.read(ann, domain.AccessPage, "k"); !errors.Is(err, down) {
		t.Errorf("without a ledger: %v", err)
	}
	f.ledger.Suspend(nil)
	f.ledger.loseAck = 1
	for range 2 {
		if err := f.read(ann, domain.AccessPage, "k"); err != nil {
			t.Error(err)
		}
	}
	f.ledger.Suspend(down)
	if err := f.read(ann, domain.AccessPage, "k"); err != nil {
		t.Errorf("a repeat, which is counted: %v", err)
	}
	f.WriteSumsAt(t.Context(), time.Now().Add(2*time.Hour))
	f.ledger.Suspend(nil)
	f.WriteSumsAt(t.Context(), time.Now().Add(4*time.Hour))
	if got := f.reads(ann); len(got) != 2 || got[1].Count != 2 {
		t.Errorf("%+v", got)
	}
	f.check(eventstore.ReaderRef(ann.Org, ann), 2)
}

// TestReadsAreWrittenAtTheEnd of the service.
func TestReadsAreWrittenAtTheEnd(t *testing.T) {
	f := setUp(t)
	ann := f.reader("key_ann")
	for range 3 {
		if err := f.read(ann, domain.AccessReplay, "k"); err != nil {
			t.Fatal(err)
		}
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	f.WriteSums(stopped)
	if got := f.reads(ann); len(got) != 2 || got[1].Count != 2 {
		t.Errorf("%+v", got)
	}
}
