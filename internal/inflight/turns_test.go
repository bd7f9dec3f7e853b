package inflight

import (
	"slices"
	"testing"
)

func granted(turn *Turn[string]) bool {
	select {
	case <-turn.Granted:
		return true
	default:
		return false
	}
}

// TestSlotsGoRound: however many wait for one holder, another's turn comes after one of them.
func TestSlotsGoRound(t *testing.T) {
	turns := NewTurns[string](2, 1)
	var many []*Turn[string]
	for range 100 {
		many = append(many, turns.Ask("many"))
	}
	if !granted(many[0]) || granted(many[1]) {
		t.Fatal("the holder has not its share")
	}
	second := turns.Ask("second")
	if !granted(second) {
		t.Fatal("the other slot is kept from another holder")
	}
	third, again := turns.Ask("third"), turns.Ask("second")
	many[0].Done()
	many[1].Done()
	if !granted(many[1]) || !granted(third) {
		t.Error("a holder that asked for many has two turns before another has one")
	}
	third.Done()
	second.Done()
	if !granted(again) || !granted(many[2]) || granted(many[3]) {
		t.Error("the slots do not go round")
	}
	for _, turn := range append(many[2:], again) { // those that wait leave the queue
		turn.Done()
	}
	if turns.free != 2 || len(turns.held)+len(turns.waiting)+len(turns.order) != 0 {
		t.Errorf("it keeps %+v", turns)
	}
}

// TestTurnsAreBounded whatever is asked for and given back, and in whatever order.
func TestTurnsAreBounded(t *testing.T) {
	turns := NewTurns[string](3, 2)
	var open []*Turn[string]
	for i := range 1000 {
		if len(open) > 0 && i*7919%11 < 5 {
			at := i * 31 % len(open)
			open[at].Done()
			open = slices.Delete(open, at, at+1)
		} else {
			open = append(open, turns.Ask(string(rune('a'+i*i%5))))
		}
		held, of := 0, map[string]int{}
		for _, turn := range open {
			if granted(turn) {
				held++
				of[turn.holder]++
			}
		}
		for k, n := range of {
			if n > 2 {
				t.Fatalf("%s holds %d", k, n)
			}
		}
		if held > 3 || held < min(3, len(open)) && len(of) > 1 && len(turns.order) > 0 && slices.ContainsFunc(turns.order, func(k string) bool { return of[k] < 2 }) {
			t.Fatalf("%d of %d are held", held, len(open))
		}
	}
}
