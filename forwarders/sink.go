// Package forwarders runs sinks: it reads the trail for each, and delivers what the sink asks for
// to its receiver, at least once and in the ledger's order for each key. One process of an
// installation does it at a time, the holder of a lease on the ledger; another one takes over from
// the checkpoints, which are on the ledger too.
package forwarders

import (
	"context"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/forwarders/transport"
)

// A Sink is one that is not deleted, as the engine runs it.
type Sink struct {
	transport.Receiver
	Revision eventstore.Position // of its last event
	Start    eventstore.Cursor   // it forwards what comes after
	Paused   bool
	Resumed  time.Time // the last time; zero: never
	Fault    error     // why it cannot be run; nil: it can
	Replay   *Replay   // that was asked for and has not ended; nil: none
}

// A Replay is a second pass over a part of the trail, or over what was set aside.
type Replay struct {
	Number      int               // of the sink's replays, from 1
	From, To    eventstore.Cursor // what comes after From, up to To
	DeadLetters bool              // instead: what the receiver had rejected
}

// A Catalog knows the sinks: the read model does. A revision tells one state of a sink from
// another.
type Catalog interface {
	// Sinks are the revisions of all that are not deleted, of all organizations, and a channel
	// that is closed when there is something new.
	Sinks() (map[domain.SinkID]eventstore.Position, <-chan struct{})
	// Sink is one as it is now, or after the event at a position; false: there is none.
	Sink(ctx context.Context, id domain.SinkID, after eventstore.Position) (Sink, bool, error)
}

// Commands write what becomes of sinks to the trail, in the name of the system. Repeated, they
// write nothing; nor if the sink is deleted.
type Commands interface {
	// StopSink pauses a sink that cannot go on. detail is for the operator.
	StopSink(ctx context.Context, org domain.OrgID, id domain.SinkID, reason domain.SinkPauseReason, detail string) error
	// NoteSinkGap tells what a sink does not get.
	NoteSinkGap(ctx context.Context, org domain.OrgID, id domain.SinkID, gap domain.SinkSpan) error
	// EndSinkReplay tells that a replay has come to its end.
	EndSinkReplay(ctx context.Context, org domain.OrgID, id domain.SinkID, number int, result domain.SinkReplayResult) error
}
