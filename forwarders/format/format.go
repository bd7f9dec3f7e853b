// Package format writes events as receivers want them: CloudEvents, OCSF, ECS and CEF. Each is a
// pure function of a record.
package format

import (
	"bytes"
	"sync"

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
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	var err error
	*buffer, err = r.AppendCloudEvent((*buffer)[:0])
	return bytes.Clone(*buffer), err
}

// buffers are what events are written in, before they are given memory of their size.
var buffers = sync.Pool{New: func() any { return new([]byte) }}
