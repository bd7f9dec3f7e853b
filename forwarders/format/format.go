// Package format writes events as receivers want them: CloudEvents, OCSF, ECS and CEF. Each is a
// pure function of a record.
package format

import (
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// A Format writes the record whose id for receivers is id.
type Format func(id string, r *eventstore.Record) ([]byte, error)

// Of finds a format by its name; nil if there is none.
func Of(name domain.SinkFormat) Format { return formats[name] }

var formats = map[domain.SinkFormat]Format{
	domain.FormatCloudEvents: cloudEvent,
	domain.FormatOCSF:        ocsf,
	domain.FormatECS:         ecs,
	domain.FormatCEF:         cef,
}

// cloudEvent is a CloudEvents 1.0 event in structured JSON, as the trail shows it.
func cloudEvent(_ string, r *eventstore.Record) ([]byte, error) {
	return r.AppendCloudEvent(make([]byte, 0, eventBytes))
}

// eventBytes is the room for an event; most have less.
const eventBytes = 1024
