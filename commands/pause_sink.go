package commands

import (
	"context"
	"errors"
	"strings"

	"github.com/keytrail/keytrail/domain"
)

// ChangeSink is a request to pause, resume or delete a sink.
type ChangeSink struct {
	Request
	Org  domain.OrgID
	Sink domain.SinkID
}

// PauseSink makes a sink forward nothing, until ResumeSink.
func (h *Handler) PauseSink(ctx context.Context, c ChangeSink) (SinkResult, error) {
	return h.pauseSink(ctx, c, domain.PausedByOperator, "")
}

func (h *Handler) pauseSink(ctx context.Context, c ChangeSink, reason domain.SinkPauseReason, detail string) (SinkResult, error) {
	return h.onSink(ctx, c.Org, c.Sink, c.Request, func(s domain.Sink) (domain.Event, error) {
		return s.PauseFor(domain.PauseSink{Reason: reason, Detail: detail, At: h.now(), By: c.By})
	})
}

// maxPauseDetail is how many bytes of a failure the event of a pause has.
const maxPauseDetail = 1000

// StopSink pauses a sink that cannot go on, in the name of the system. A sink that is paused or
// deleted is left as it is.
func (h *Handler) StopSink(ctx context.Context, org domain.OrgID, id domain.SinkID, reason domain.SinkPauseReason, text string) error {
	text = strings.ToValidUTF8(text[:min(len(text), maxPauseDetail)], "")
	_, err := h.pauseSink(ctx, systemOn(org, id), reason, text)
	return unlessDeleted(err)
}

func systemOn(org domain.OrgID, id domain.SinkID) ChangeSink {
	return ChangeSink{Request: Request{By: domain.System}, Org: org, Sink: id}
}

func unlessDeleted(err error) error {
	if errors.Is(err, domain.ErrSinkNotFound) {
		return nil
	}
	return err
}
