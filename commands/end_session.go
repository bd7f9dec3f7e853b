package commands

import (
	"context"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// EndSession ends one session.
type EndSession struct {
	Request
	Session domain.Session // whose id, user and organization count
	Reason  domain.SessionEndReason
}

// EndSession carries out c. Ending one that has ended is no news.
func (h *Handler) EndSession(ctx context.Context, c EndSession) (eventstore.Position, error) {
	o, err := h.endSession(ctx, c)
	return o.position, err
}

func (h *Handler) endSession(ctx context.Context, c EndSession) (result[domain.Sessions], error) {
	return h.onSessions(ctx, c.Session.Org, c.Session.User, c.Request, func(all domain.Sessions) (domain.Event, error) {
		return all.End(domain.EndSession{Principalled: h.principalled(c.By), ID: c.Session.ID, Reason: c.Reason})
	})
}
