package projections

import "github.com/keytrail/keytrail/eventstore"

// A projection is how one set of rows follows from the records of one stream. apply must
// not depend on how the records are cut into batches, on time or on anything but its
// arguments.
type projection struct {
	name    string
	version int
	stream  eventstore.Stream
	apply   func(rows, []eventstore.Record) error // nil: it adds up in the usage buffer
}

// projections are all there are. Raise a version when apply writes other rows.
var projections = []projection{
	{"keys", 7, eventstore.Events, applyKeys},
	{"organizations", 3, eventstore.Events, applyOrganizations},
	{"requests", 2, eventstore.Events, applyRequests},
	{"usage", 3, eventstore.Uses, nil},
}

// Names are the names of all projections.
func Names() (names []string) {
	for _, p := range projections {
		names = append(names, p.name)
	}
	return names
}
