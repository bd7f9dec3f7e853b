package eventstore_test

import (
	"errors"
	"testing"

	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
)

// TestAStateIsComparedAndSet: a process that was frozen does not overwrite what another has put
// since. What the sides keep under one name is not the same.
func TestAStateIsComparedAndSet(t *testing.T) {
	l := eventstoretest.New(t)
	const name = "checkpoint"
	for _, side := range []eventstore.Side{eventstore.Sinks, eventstore.Reactions} {
		if s, err := l.State(t.Context(), side, name); err != nil || s.Revision != 0 {
			t.Fatalf("nothing was put, and there is %+v: %v", s, err)
		}
		first, err := l.PutState(t.Context(), side, name, 0, []byte("first"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.PutState(t.Context(), side, name, first, []byte("second")); err != nil {
			t.Fatal(err)
		}
		for _, after := range []eventstore.Position{0, first} {
			if _, err := l.PutState(t.Context(), side, name, after, []byte("late")); !errors.Is(err, eventstore.ErrConflict) {
				t.Errorf("after %d: %v, want a conflict", after, err)
			}
		}
		if s, err := l.State(t.Context(), side, name); err != nil || string(s.Data) != "second" {
			t.Errorf("it is %q: %v", s.Data, err)
		}
		if _, err := l.PutState(t.Context(), side, name, first, []byte("second")); err != nil {
			t.Errorf("a repeat whose acknowledgement was lost: %v", err)
		}
	}
}
