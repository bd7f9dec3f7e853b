package commands

import (
	"context"

	"github.com/keytrail/keytrail/domain"
)

// ResumeSink lets a sink go on from where it was paused.
func (h *Handler) ResumeSink(ctx context.Context, c ChangeSink) (SinkResult, error) {
	return h.onSink(ctx, c.Org, c.Sink, c.Request, func(s domain.Sink) (domain.Event, error) {
		return s.Resume(domain.ChangeSink{At: h.now(), By: c.By})
	})
}
