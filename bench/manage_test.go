package main

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"
)

func TestOnlyValidAnswersToLaterQuestionsAreLate(t *testing.T) {
	w := &witness{answered: make(chan struct{})}
	valid, revoked := verdict{Valid: true, Code: "VALID"}, verdict{Code: "REVOKED"}
	before := time.Now()
	if w.see(before, valid) {
		t.Error("an asker stopped before the revocation")
	}
	<-w.answered
	w.acknowledge(nil)
	after := w.acknowledged.Add(time.Microsecond)
	if w.see(before, valid) || w.see(before, revoked) || w.late != 0 || !w.refused.IsZero() {
		t.Errorf("a question from before the acknowledgement counts: %+v", w)
	}
	if w.see(after, valid) || w.late != 1 {
		t.Errorf("a valid answer to a later question does not count: %+v", w)
	}
	if !w.see(after, revoked) || w.refused.Before(w.acknowledged) || w.late != 1 || w.asked != 5 {
		t.Errorf("the refusal was not seen: %+v", w)
	}
}

func TestEachPieceOfWorkIsDoneOnceAndAnErrorIsReported(t *testing.T) {
	var done [1000]atomic.Int64
	r, err := inParallel(7, len(done), func(i int) error { done[i].Add(1); return nil })
	if err != nil || r.Count != len(done) || r.PerSecond <= 0 {
		t.Errorf("%+v, %v", r, err)
	}
	for i := range done {
		if n := done[i].Load(); n != 1 {
			t.Fatalf("work %d was done %d times", i, n)
		}
	}
	broken := errors.New("broken")
	if _, err := inParallel(3, 10, func(i int) error {
		if i == 5 {
			return broken
		}
		return nil
	}); !errors.Is(err, broken) {
		t.Errorf("the error is %v", err)
	}
}
