package evidence

import (
	"fmt"
	"hash/maphash"

	"github.com/keytrail/keytrail/eventstore"
)

// histories are the events of each aggregate: each names the one before it, so that none can be
// left out between two.
type histories struct {
	seed        maphash.Seed
	last        map[uint64]eventstore.Position // of an aggregate, by the hash of its subject, under a seed of this run
	first       eventstore.Position            // of the bundle
	begunBefore int
}

func newHistories(first eventstore.Position) histories {
	return histories{maphash.MakeSeed(), map[uint64]eventstore.Position{}, first, 0}
}

// add compares the event that e names with the last one of its aggregate in the bundle.
func (h *histories) add(e *event) error {
	wrong := func(p eventstore.Position, what string, args ...any) error {
		return &Wrong{eventstore.Events.String(), p, fmt.Sprintf(what, args...)}
	}
	previous, err := eventstore.PreviousOf(e.Body)
	if err != nil {
		return wrong(e.Position, "it is no event of the service: %v", err)
	}
	of := maphash.String(h.seed, e.Subject)
	last, known := h.last[of]
	h.last[of] = e.Position
	switch {
	case previous == last:
	case !known && previous < h.first:
		h.begunBefore++
	case previous > last && previous < e.Position:
		return wrong(previous, "it is missing: position %d names it as the event before it", e.Position)
	default:
		return wrong(e.Position, "it names position %d as the event before it, and that is %d", previous, last)
	}
	return nil
}
