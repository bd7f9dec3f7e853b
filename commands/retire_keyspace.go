package commands

import (
	"context"

	"github.com/keytrail/keytrail/domain"
)

// RetireKeyspace ends the creation of keys in a keyspace; ReinstateKeyspace lets them be
// created again.
type RetireKeyspace struct {
	Request `validate:"-"`
	Name    string `json:"name" validate:"required,max=40,keyspace_name"`
}

// RetireKeyspace carries out c.
func (h *Handler) RetireKeyspace(ctx context.Context, c RetireKeyspace) (KeyspaceResult, error) {
	return h.retireKeyspace(ctx, c, domain.Keyspace.Retire)
}

// ReinstateKeyspace takes a retirement back.
func (h *Handler) ReinstateKeyspace(ctx context.Context, c RetireKeyspace) (KeyspaceResult, error) {
	return h.retireKeyspace(ctx, c, domain.Keyspace.Reinstate)
}

func (h *Handler) retireKeyspace(ctx context.Context, c RetireKeyspace, decide func(domain.Keyspace, domain.RetireKeyspace) (domain.Event, error)) (KeyspaceResult, error) {
	if err := valid(c); err != nil {
		return KeyspaceResult{}, domain.ErrNoKeyspace
	}
	return h.onKeyspace(ctx, c.Name, c.Request, func(k domain.Keyspace) (domain.Event, error) {
		return decide(k, domain.RetireKeyspace{Name: c.Name, At: h.now(), By: c.By})
	})
}
