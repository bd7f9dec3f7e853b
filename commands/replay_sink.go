package commands

import (
	"context"

	"github.com/keytrail/keytrail/domain"
)

// ReplaySink forwards a part of the trail to a sink again, or what its receiver has rejected.
type ReplaySink struct {
	Request
	Org  domain.OrgID
	Sink domain.SinkID
	domain.SinkReplayRange
}

// ReplaySink carries out c: it asks for the replay, which goes on beside what comes.
func (h *Handler) ReplaySink(ctx context.Context, c ReplaySink) (SinkResult, error) {
	return h.onSink(ctx, c.Org, c.Sink, c.Request, func(s domain.Sink) (domain.Event, error) {
		return s.BeginReplay(domain.ReplaySink{SinkReplayRange: c.SinkReplayRange, At: h.now(), By: c.By})
	})
}

// EndSinkReplay tells that the replay of a number has ended, in the name of the system.
func (h *Handler) EndSinkReplay(ctx context.Context, org domain.OrgID, id domain.SinkID, number int, result domain.SinkReplayResult) error {
	c := systemOn(org, id)
	_, err := h.onSink(ctx, org, id, c.Request, func(s domain.Sink) (domain.Event, error) {
		return s.EndReplay(domain.EndSinkReplay{Number: number, Result: result, At: h.now(), By: c.By})
	})
	return unlessDeleted(err)
}
