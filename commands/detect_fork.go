package commands

import (
	"context"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// DetectFork is a finding of the service itself: a stream is not what was signed of it.
type DetectFork struct {
	Log        uint64
	Stream     eventstore.Stream
	Finding    string
	Checkpoint string
}

// DetectFork records c, once a log and stream.
func (h *Handler) DetectFork(ctx context.Context, c DetectFork) error {
	r := Request{By: domain.System}
	_, err := h.onTrailLog(ctx, r, func(t domain.TrailLog) (domain.Event, error) {
		return t.DetectFork(domain.DetectFork{Log: c.Log, Stream: c.Stream.String(), Finding: c.Finding, Checkpoint: c.Checkpoint, At: h.now(), By: r.By})
	})
	return err
}
