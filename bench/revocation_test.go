package main

import (
	"testing"
	"time"
)

func TestOnlyValidAnswersToLaterQuestionsAreLate(t *testing.T) {
	w := &observation{answered: make(chan struct{})}
	valid, revoked := verdict{Valid: true, Code: "VALID"}, verdict{Code: "REVOKED"}
	before := time.Now()
	if w.record(before, valid) {
		t.Error("an asker stopped before the revocation")
	}
	<-w.answered
	w.acknowledge(time.Now())
	after := w.acknowledged.Add(time.Microsecond)
	if w.record(before, valid) || w.record(before, revoked) || w.late != 0 || !w.refused.IsZero() {
		t.Errorf("a question from before the acknowledgement counts: %+v", w)
	}
	if w.record(after, valid) || w.late != 1 {
		t.Errorf("a valid answer to a later question does not count: %+v", w)
	}
	if !w.record(after, revoked) || w.refused.Before(w.acknowledged) || w.late != 1 || w.asked != 5 {
		t.Errorf("the refusal was not seen: %+v", w)
	}
}
