package main

import (
	"errors"
	"sync/atomic"
	"testing"
)

func TestEachPieceOfWorkIsDoneOnceAndAnErrorIsReported(t *testing.T) {
	var done [1000]atomic.Int64
	r, err := inParallel(t.Context(), 7, len(done), func(i int) error { done[i].Add(1); return nil })
	if err != nil || r.Count != len(done) || r.PerSecond <= 0 {
		t.Errorf("%+v, %v", r, err)
	}
	for i := range done {
		if n := done[i].Load(); n != 1 {
			t.Fatalf("work %d was done %d times", i, n)
		}
	}
	broken := errors.New("broken")
	if _, err := inParallel(t.Context(), 3, 10, func(i int) error {
		if i == 5 {
			return broken
		}
		return nil
	}); !errors.Is(err, broken) {
		t.Errorf("the error is %v", err)
	}
}
