package eventstore_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
)

var sinkID = domain.NewSinkID(org, "a")

// TestDeadLettersAreKeptUpToABound: none pushes another out.
func TestDeadLettersAreKeptUpToABound(t *testing.T) {
	l := eventstoretest.New(t)
	var err error
	n := 0
	for ; err == nil && n < 2000; n++ {
		err = l.AddDeadLetter(t.Context(), sinkID, fmt.Sprint("event ", n), []byte(fmt.Sprint(n)))
	}
	if n--; !errors.Is(err, eventstore.ErrDeadLettersFull) || n != 1000 {
		t.Fatalf("after %d: %v", n, err)
	}
	all, err := l.DeadLetters(t.Context(), sinkID, 0, 2000)
	if err != nil || len(all) != 1000 || string(all[0].Data) != "0" {
		t.Fatalf("%d: %v", len(all), err)
	}
	if page, err := l.DeadLetters(t.Context(), sinkID, all[9].Position, 2); err != nil || len(page) != 2 || string(page[0].Data) != "10" {
		t.Errorf("a page after the tenth: %d, %v", len(page), err)
	}
	for range 2 { // repeated, it has been done
		if err := l.DeleteDeadLetter(t.Context(), all[8].Position); err != nil {
			t.Fatal(err)
		}
		if err := l.DeleteDeadLetter(t.Context(), all[7].Position); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // repeated, it is one
		if err := l.AddDeadLetter(t.Context(), sinkID, "another", nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.DeleteSink(t.Context(), sinkID); err != nil {
		t.Fatal(err)
	}
	if n, err := l.CountDeadLetters(t.Context(), sinkID); err != nil || n != 0 {
		t.Errorf("%d are left: %v", n, err)
	}
}

// TestAttemptsAreTheLatest, of one sink.
func TestAttemptsAreTheLatest(t *testing.T) {
	l := eventstoretest.New(t)
	other := domain.NewSinkID(org, "b")
	for n := range 250 {
		if err := errors.Join(l.AddAttempt(sinkID, []byte(fmt.Sprint(n))), l.AddAttempt(other, nil)); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "all are kept", func() bool {
		all, err := l.Attempts(t.Context(), sinkID)
		return err == nil && len(all) == 100 && string(all[99].Data) == "249"
	})
	if all, err := l.Attempts(t.Context(), domain.NewSinkID(org, "none")); err != nil || len(all) != 0 {
		t.Errorf("%d of a sink without: %v", len(all), err)
	}
}

// TestReadingForOperatorsLeavesNothingBehind: whoever may look at a sink, and does so all the time,
// fills the server with no consumers.
func TestReadingForOperatorsLeavesNothingBehind(t *testing.T) {
	server := eventstoretest.Server(t)
	l := eventstoretest.Open(t, server)
	if err := errors.Join(l.AddAttempt(sinkID, nil), l.AddDeadLetter(t.Context(), sinkID, "event", nil)); err != nil {
		t.Fatal(err)
	}
	_, attempts := l.Attempts(t.Context(), sinkID)
	_, letters := l.DeadLetters(t.Context(), sinkID, 0, 1)
	if err := errors.Join(attempts, letters); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"KEYTRAIL_ATTEMPTS", "KEYTRAIL_DEAD_LETTERS"} {
		stream, err := eventstoretest.JetStream(t, server).Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if n := stream.CachedInfo().State.Consumers; n != 0 {
			t.Errorf("%s has %d consumers", name, n)
		}
	}
}
