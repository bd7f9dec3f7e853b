package projections_test

import (
	"testing"

	"github.com/keytrail/keytrail/eventstore/eventstoretest"
)

// A query sees one moment, though it goes on while events are published and the rows that it
// reads are built again; and those do not wait for it.
func TestAQuerySeesOneMoment(t *testing.T) {
	l := eventstoretest.New(t)
	h := newHistory(t, l)
	h.create()
	s, _ := run(t, t.TempDir(), l)
	before, after, err := s.DuringAQuery(func() {
		h.create()
		catchUp(t, s, l)
		rebuilt(t, s, "keys")
		if now, _, err := s.DuringAQuery(func() {}); err != nil || now != 2 {
			t.Errorf("another query sees %d keys, %v", now, err)
		}
	})
	if err != nil || before != 1 || after != 1 {
		t.Errorf("the query sees %d keys and then %d, %v", before, after, err)
	}
}

// What remembers an answer can see that the rows are others, though the position is the same.
func TestARebuildIsAnotherVersionOfTheSamePosition(t *testing.T) {
	l := eventstoretest.New(t)
	newHistory(t, l).create()
	s, _ := run(t, t.TempDir(), l)
	position, version := s.Position(), s.Version()
	rebuilt(t, s, "keys")
	if s.Position() != position || s.Version() <= version {
		t.Errorf("after a rebuild the position %d is %d, version %d is %d", position, s.Position(), version, s.Version())
	}
}
