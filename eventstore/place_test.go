package eventstore_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
)

// replayAfter is what the trail has after a place, as text.
func replayAfter(t *testing.T, trail *eventstore.Trail, p domain.TrailPlace) (all []string) {
	t.Helper()
	err := trail.Replay(context.Background(), eventstore.Filter{Reach: domain.All}, eventstore.CursorAfter(eventstore.Position(p.Events), eventstore.Position(p.Uses)), func(r *eventstore.Record) error {
		all = append(all, r.Stream.String()+" "+r.Identity())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// From the place after an event on, the trail is what comes after the event in its order, with at
// most some uses before it which share a message with one that comes after.
func TestThePlaceAfterAnEvent(t *testing.T) {
	l := eventstoretest.New(t)
	diverse(t, l, 7, true)
	trail := eventstore.NewTrail(l, nil)
	all := replayAfter(t, trail, domain.TrailPlace{})
	events, err := l.End(t.Context(), eventstore.Events)
	if err != nil {
		t.Fatal(err)
	}
	for event := range events + 1 {
		p, err := trail.PlaceAfter(t.Context(), event)
		if err != nil {
			t.Fatal(err)
		}
		at := slices.Index(all, "events "+eventstore.Record{Position: event}.Identity())
		got, want := replayAfter(t, trail, p), all[at+1:]
		extra := len(got) - len(want)
		if extra < 0 || extra > 12 {
			t.Fatalf("after event %d there are %d records, of %d", event, len(got), len(want))
		}
		for _, r := range want {
			if !slices.Contains(got, r) {
				t.Errorf("after event %d, %s is missing", event, r)
			}
		}
	}
	if _, err := trail.PlaceAfter(t.Context(), events+1); !errors.Is(err, eventstore.ErrNoSuchPosition) {
		t.Errorf("after an event that is not there: %v", err)
	}
}

func TestPlacesOfTimes(t *testing.T) {
	l := eventstoretest.New(t)
	trail := eventstore.NewTrail(l, nil)
	begun := time.Now().Add(-time.Hour)
	diverse(t, l, 7, false)
	end, err := trail.EndPlace(t.Context())
	if err != nil || len(replayAfter(t, trail, end)) != 0 {
		t.Errorf("after the end %+v there is something, %v", end, err)
	}
	if p, err := trail.PlaceAt(t.Context(), begun); err != nil || p != (domain.TrailPlace{}) {
		t.Errorf("before all: %+v, %v", p, err)
	}
	if p, err := trail.PlaceAt(t.Context(), time.Now().Add(time.Hour)); err != nil || p != end {
		t.Errorf("after all: %+v, %v", p, err)
	}
}
