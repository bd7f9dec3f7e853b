package projections

import (
	"math"

	"github.com/keytrail/keytrail/eventstore"
)

// applyOrgEvents appends to the posting lists of organizations, which are all that the table of
// org_events has.
func applyOrgEvents(r rowMap, records []eventstore.Record) error {
	if len(records) == 0 {
		return nil
	}
	b := newPostingsBuffer(records[0].Position - 1)
	for i := range records {
		b.add(orgTerm(records[i].Org), records[i].Position)
		b.end = records[i].Position
	}
	_, err := b.flush().write(r, math.MaxInt)
	return err
}
