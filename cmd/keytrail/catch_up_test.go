package main

import (
	"testing"

	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/projections"
)

// A start tells of each stream what is furthest behind, and of a load that has read everything
// that it is not done.
func TestProgressOfAStart(t *testing.T) {
	loading := &projections.RebuildStatus{State: projections.RebuildRunning, Position: 60, End: 100}
	writing := &projections.RebuildStatus{State: projections.RebuildRunning, Position: 100, End: 100}
	done := &projections.RebuildStatus{State: projections.RebuildDone, Position: 100, End: 100}
	for _, c := range []struct {
		name    string
		all     []projections.ProjectionStatus
		at, end eventstore.Position
	}{
		{"following", []projections.ProjectionStatus{{Stream: "events", Position: 80, Lag: 20}, {Stream: "events", Position: 70, Lag: 30}, {Stream: "uses", Lag: 900}}, 70, 100},
		{"loading", []projections.ProjectionStatus{{Stream: "events", Position: 90, Lag: 10}, {Stream: "events", Lag: 100, Rebuild: loading}}, 60, 100},
		{"writing", []projections.ProjectionStatus{{Stream: "events", Lag: 100, Rebuild: writing}}, 99, 100},
		{"ready", []projections.ProjectionStatus{{Stream: "events", Position: 100, Rebuild: done}}, 0, 0},
	} {
		if at, end := progressOf(c.all, eventstore.Events); at != c.at || end != c.end {
			t.Errorf("%s: %d of %d, wanted %d of %d", c.name, at, end, c.at, c.end)
		}
	}
}
