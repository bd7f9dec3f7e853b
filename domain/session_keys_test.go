package domain

import (
	"errors"
	"slices"
	"testing"
	"time"
)

func TestSessionKeysAreGoodForTheirOverlap(t *testing.T) {
	operator := Principal{ID: "operator", Org: Installation}
	var k SessionKeys
	rotate := func(at time.Time, overlap time.Duration) {
		t.Helper()
		e, err := k.Rotate(RotateSessionKeys{Overlap: overlap, At: at, By: operator})
		if err != nil {
			t.Fatal(err)
		}
		k.Apply(e)
	}
	expect := func(at time.Time, want ...int) {
		t.Helper()
		if got := k.Generations(at); !slices.Equal(got, want) {
			t.Errorf("good: %v, want %v", got, want)
		}
	}
	expect(noon, 1)
	rotate(noon, 24*time.Hour)
	expect(noon, 2, 1)
	expect(noon.Add(24*time.Hour-1), 2, 1)
	expect(noon.Add(24*time.Hour), 2)
	rotate(noon.Add(time.Hour), time.Hour) // the first one's end comes nearer
	expect(noon.Add(2*time.Hour-1), 3, 2, 1)
	expect(noon.Add(2*time.Hour), 3)
	rotate(noon.Add(90*time.Minute), 0)
	expect(noon.Add(90*time.Minute), 4)
	if len(k.Rotated) != 1 || k.Signing() != 4 {
		t.Errorf("what has ended is kept: %+v", k)
	}
	for range maxSessionKeys - 1 {
		rotate(noon.Add(2*time.Hour), time.Hour)
	}
	late := noon.Add(2 * time.Hour)
	if _, err := k.Rotate(RotateSessionKeys{Overlap: time.Hour, At: late, By: operator}); !errors.Is(err, ErrTooManySessionKeys) {
		t.Error(err)
	}
	if _, err := k.Rotate(RotateSessionKeys{At: late, By: operator}); err != nil {
		t.Errorf("without an overlap: %v", err)
	}
	if _, err := k.Rotate(RotateSessionKeys{At: late, By: Principal{ID: "tenant", Org: NewOrgID("acme")}}); !errors.Is(err, ErrOutOfReach) {
		t.Errorf("by a tenant: %v", err)
	}
}
