package commands

import (
	"context"

	"github.com/keytrail/keytrail/domain"
)

// DeleteSink ends a sink for good.
func (h *Handler) DeleteSink(ctx context.Context, c ChangeSink) (SinkResult, error) {
	return h.onSink(ctx, c.Org, c.Sink, c.Request, func(s domain.Sink) (domain.Event, error) {
		return s.Delete(domain.ChangeSink{At: h.now(), By: c.By})
	})
}
