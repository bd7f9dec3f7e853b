package forwarders

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/forwarders/transport"
)

func usedAt(p eventstore.Position, key string, code domain.Outcome, second int) *eventstore.Record {
	at := time.Date(2026, 11, 22, 12, 0, second, 0, time.UTC)
	return &eventstore.Record{Stream: eventstore.Uses, Position: p, Stored: at, Time: at, Event: domain.KeyUsed{Key: domain.KeyID(key), Code: code, At: at, IP: fmt.Sprint("192.0.2.", p), RequestID: "r", Resource: "GET /"}}
}

// sumUp sums up uses as a reader does, and tells each minute's.
func sumUp(records []*eventstore.Record) (minutes [][]*eventstore.Entry) {
	var s sums
	for _, r := range records {
		if s.closes(r) {
			minutes = append(minutes, s.take())
			s.reset()
		}
		use := r.Event.(domain.KeyUsed)
		s.add(r, &use, eventstore.CursorAfter(0, r.Position-1))
	}
	return append(minutes, s.take())
}

func TestUsesAreSummedUpByKeyOutcomeAndMinute(t *testing.T) {
	minutes := sumUp([]*eventstore.Record{
		usedAt(1, "k", domain.UseValid, 1), usedAt(2, "l", domain.UseValid, 2), usedAt(3, "k", domain.UseRevoked, 3), usedAt(4, "k", domain.UseValid, 30),
		usedAt(5, "k", domain.UseValid, 61), usedAt(6, "k", domain.UseValid, 59), // stored by a server whose clock is behind
	})
	if len(minutes) != 2 || len(minutes[0]) != 3 || len(minutes[1]) != 1 {
		t.Fatalf("%d minutes: %+v", len(minutes), minutes)
	}
	sum, lone := minutes[0][0].Event.(domain.KeyUsed), minutes[0][1].Event.(domain.KeyUsed)
	if sum.Count != 2 || sum.First.Second() != 1 || sum.At.Second() != 30 || sum.IP != "" || sum.RequestID != "" || fmt.Sprint(sum.Addresses, sum.Resources) != "[192.0.2.1 192.0.2.4] [GET /]" || minutes[0][0].Position != 1 {
		t.Errorf("a sum is %+v", minutes[0][0])
	}
	if lone.Count != 0 || lone.IP != "192.0.2.2" || lone.RequestID != "r" {
		t.Errorf("a lone use is %+v", lone)
	}
	if sum := minutes[1][0].Event.(domain.KeyUsed); sum.Count != 2 || minutes[1][0].Position != 5 || sum.First.Second() != 59 {
		t.Errorf("the second minute has %+v", sum)
	}
}

// TestASumOfSumsIsOne: refusals come summed up already.
func TestASumOfSumsIsOne(t *testing.T) {
	first := usedAt(1, "k", domain.UseRevoked, 10)
	use := first.Event.(domain.KeyUsed)
	use.Count, use.First, use.IP, use.Addresses = 5, use.At.Add(-5*time.Second), "", make([]string, 1, 10)
	use.Addresses[0] = "198.51.100.1"
	first.Event = use
	sum := sumUp([]*eventstore.Record{first, usedAt(2, "k", domain.UseRevoked, 20)})[0][0].Event.(domain.KeyUsed)
	if sum.Count != 6 || sum.First.Second() != 5 || fmt.Sprint(sum.Addresses) != "[198.51.100.1 192.0.2.2]" {
		t.Errorf("it is %+v", sum)
	}
	if shared := use.Addresses[:2]; shared[1] != "" {
		t.Errorf("what others read as well was written to: %q", shared)
	}
}

func TestAMinuteOfManyKeysEndsEarly(t *testing.T) {
	var records []*eventstore.Record
	for n := range maxSums + 10 {
		records = append(records, usedAt(eventstore.Position(n+1), fmt.Sprint(n), domain.UseValid, 1))
	}
	if minutes := sumUp(records); len(minutes) != 2 || len(minutes[0]) != maxSums {
		t.Errorf("%d minutes, of which the first has %d", len(minutes), len(minutes[0]))
	}
}

// TestASinkStaysBeforeAMinuteUntilItsLastSum, so that a crash sums up the same again.
func TestASinkStaysBeforeAMinuteUntilItsLastSum(t *testing.T) {
	p := &pass{tenure: &tenure{engine: New(Options{Origin: func() string { return "0123abcd" }})}, write: func(string, *eventstore.Record) ([]byte, error) { return nil, nil }}
	r := &reader{pass: p, sums: &sums{}, limits: transport.Limits{Events: 100}}
	add := func(record *eventstore.Record) {
		before := r.cursor
		r.cursor.Move(record)
		r.addEntry(t.Context(), &eventstore.Entry{Record: *record}, before)
	}
	event := &eventstore.Record{Stream: eventstore.Events, Position: 9, Event: domain.KeyRevoked{}}
	for _, record := range []*eventstore.Record{usedAt(1, "k", domain.UseValid, 1), usedAt(2, "l", domain.UseValid, 2), event, usedAt(3, "k", domain.UseValid, 61)} {
		add(record)
	}
	var places []string
	for _, i := range r.batch.items {
		places = append(places, fmt.Sprint(i.event.ID, " ", i.after.At, i.after.Index))
	}
	want := []string{"0123abcd-events-9 [9 0] 0", "0123abcd-uses-1-0 [9 0] 0", "0123abcd-uses-2-0 [9 2] 0"}
	if !slices.Equal(places, want) {
		t.Errorf("%q, want %q", places, want)
	}
	if safe := r.safe(); safe.At != [2]eventstore.Position{9, 2} {
		t.Errorf("in the next minute it stays at %v", safe.At)
	}
}
