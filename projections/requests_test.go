package projections_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/projections"
)

// request is the n-th record of a history, with an Idempotency-Key.
func request(n int, command string, stored time.Time) eventstore.Record {
	return eventstore.Record{Position: eventstore.Position(n), Stored: stored, Subject: "not looked at", Event: domain.KeyDisabled{},
		Command: eventstore.Command{ID: command, Fingerprint: "request " + command}}
}

// applied is a store that took records in batches of a size.
func applied(t *testing.T, records []eventstore.Record, size int) *projections.Store {
	t.Helper()
	s, err := projections.Open(t.TempDir(), projections.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	for batch := range slices.Chunk(records, size) {
		if err := s.Apply(batch, eventstore.Checkpoint{Position: batch[len(batch)-1].Position}); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func TestRequestsAreKeptForTwoDaysAndThenForgotten(t *testing.T) {
	var records []eventstore.Record
	add := func(command string, at time.Time) {
		records = append(records, request(len(records)+1, command, at))
	}
	for hour := range 300 {
		at := noon.Add(time.Duration(hour) * time.Hour)
		add(fmt.Sprint("c", hour), at)
		add(fmt.Sprint("c", hour), at) // a bulk request has a record for each key
		add(fmt.Sprint("d", hour), at)
	}
	s := applied(t, records, 1)
	same(t, "singly and in one batch", dump(t, s), dump(t, applied(t, records, len(records))))
	for hour := range 300 {
		fingerprint, found, err := s.Request(fmt.Sprint("c", hour))
		if err != nil || found != (hour >= 299-48) || found && fingerprint != fmt.Sprint("request c", hour) {
			t.Errorf("hour %d: %q, found %v, %v", hour, fingerprint, found, err)
		}
	}
	left := dump(t, s)
	maps.DeleteFunc(left, func(row, _ string) bool { return !strings.HasPrefix(row, "requests ") })
	if len(left) > 2*2*49+1 {
		t.Errorf("%d rows are left", len(left))
	}
}

// TestAClockThatJumpsForgetsLittle stores one record a year ahead.
func TestAClockThatJumpsForgetsLittle(t *testing.T) {
	var records []eventstore.Record
	for n := range 10 {
		at := noon
		if n == 8 {
			at = noon.AddDate(1, 0, 0)
		}
		records = append(records, request(n+1, fmt.Sprint("c", n), at))
	}
	s, found := applied(t, records, 3), 0
	for n := range 10 {
		_, known, err := s.Request(fmt.Sprint("c", n))
		if err != nil {
			t.Fatal(err)
		}
		if known {
			found++
		}
	}
	if found != 8 {
		t.Errorf("%d of 10 requests are known, want 8", found)
	}
}
