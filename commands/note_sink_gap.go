package commands

import (
	"cmp"
	"context"

	"github.com/keytrail/keytrail/domain"
)

// NoteSinkGap tells what a sink could not forward, in the name of the system.
func (h *Handler) NoteSinkGap(ctx context.Context, org domain.OrgID, id domain.SinkID, gap domain.SinkSpan) error {
	c := systemOn(org, id)
	gap.Reason = cmp.Or(gap.Reason, domain.GapPruned)
	_, err := h.onSink(ctx, org, id, c.Request, func(s domain.Sink) (domain.Event, error) {
		return s.NoteGap(domain.NoteSinkGap{SinkSpan: gap, At: h.now(), By: c.By})
	})
	return unlessDeleted(err)
}
