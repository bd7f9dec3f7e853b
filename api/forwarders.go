package api

import (
	"context"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// Forwarders runs sinks. What it answers is on the ledger's streams, so that any process can be
// asked, whichever forwards.
type Forwarders interface {
	// SinkStatus is how a sink fares.
	SinkStatus(context.Context, domain.SinkID) (domain.SinkStatus, error)
	// TestSink delivers a test event to the receiver of a sink as it is after the event at a
	// position. That the receiver refuses it, the attempt tells.
	TestSink(ctx context.Context, id domain.SinkID, after eventstore.Position) (domain.SinkAttempt, error)
	// SinkAttempts are the latest attempts of a sink, the newest first.
	SinkAttempts(context.Context, domain.SinkID) ([]domain.SinkAttempt, error)
	// SinkDeadLetters are the dead letters of a sink after a position among them, oldest first, at
	// most limit.
	SinkDeadLetters(ctx context.Context, id domain.SinkID, after uint64, limit int) ([]domain.SinkDeadLetter, error)
}
