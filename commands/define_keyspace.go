package commands

import (
	"context"
	"errors"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// A KeyspaceDefinition is a keyspace as it is to be. It is the command that defines one, the
// one that updates one, and the one that does whichever is needed.
type KeyspaceDefinition struct {
	Request `validate:"-"`
	Name    string `json:"name" validate:"required,max=40,keyspace_name"`
	domain.KeyspaceDefinition
}

// A KeyspaceResult is a keyspace after a command. Position is its revision.
type KeyspaceResult struct {
	Keyspace domain.Keyspace
	Position eventstore.Position
	Replayed bool
	Changed  bool // the command wrote an event: it was not so already
	Created  bool // the event, of this call, began the keyspace
}

// DefineKeyspace makes a new keyspace.
func (h *Handler) DefineKeyspace(ctx context.Context, c KeyspaceDefinition) (KeyspaceResult, error) {
	return h.defineKeyspace(ctx, c, domain.Keyspace.Define)
}

// UpdateKeyspace gives a keyspace another definition.
func (h *Handler) UpdateKeyspace(ctx context.Context, c KeyspaceDefinition) (KeyspaceResult, error) {
	return h.defineKeyspace(ctx, c, domain.Keyspace.Update)
}

// ApplyKeyspace makes a keyspace, or gives the one that there is the definition.
func (h *Handler) ApplyKeyspace(ctx context.Context, c KeyspaceDefinition) (KeyspaceResult, error) {
	return h.defineKeyspace(ctx, c, domain.Keyspace.Put)
}

func (h *Handler) defineKeyspace(ctx context.Context, c KeyspaceDefinition, decide func(domain.Keyspace, domain.DefineKeyspace) (domain.Event, error)) (KeyspaceResult, error) {
	if err := h.checkDefinition(ctx, c); err != nil {
		return KeyspaceResult{}, err
	}
	return h.onKeyspace(ctx, c.Name, c.Request, func(k domain.Keyspace) (domain.Event, error) { return decide(k, h.decision(c)) })
}

// checkDefinition refuses what can be told without the keyspace.
func (h *Handler) checkDefinition(ctx context.Context, c KeyspaceDefinition) error {
	err := valid(c)
	if err != nil || c.Issue == nil || c.Issue.Organization == "" {
		return err
	}
	if _, err := domain.ParseOrgID(string(c.Issue.Organization)); err != nil {
		return nil // which the domain refuses
	}
	if err = h.mustExist(ctx, c.Issue.Organization); errors.Is(err, domain.ErrOrganizationNotFound) {
		err = domain.InvalidField("issue.organization", "there is no such organization")
	}
	return err
}

func (h *Handler) decision(c KeyspaceDefinition) domain.DefineKeyspace {
	return domain.DefineKeyspace{Name: c.Name, Definition: c.KeyspaceDefinition, Others: h.keyspaces.Keyspaces(), At: h.now(), By: c.By}
}

// PlanKeyspace is ApplyKeyspace without its effect: it gives the keyspace as it would be, at
// the revision that it has, and in what it would differ.
func (h *Handler) PlanKeyspace(ctx context.Context, c KeyspaceDefinition) (KeyspaceResult, []domain.Difference, error) {
	if err := h.checkDefinition(ctx, c); err != nil {
		return KeyspaceResult{}, nil, err
	}
	var k domain.Keyspace
	end, err := h.ledger.Load(ctx, eventstore.KeyspaceRef(c.Name), 0, func(r eventstore.Record) { k.Apply(r.Event) })
	if err != nil {
		return KeyspaceResult{}, nil, err
	}
	if c.IfMatch != 0 && c.IfMatch != end {
		return KeyspaceResult{}, nil, domain.ErrRevisionStale
	}
	event, err := k.Put(h.decision(c))
	if err != nil {
		return KeyspaceResult{}, nil, err
	}
	differences := k.Differences(c.Name, c.KeyspaceDefinition)
	if event != nil {
		k.Apply(event)
	}
	return KeyspaceResult{Keyspace: k.OrBuiltIn(c.Name), Position: end, Changed: event != nil, Created: begins(event)}, differences, nil
}

// begins reports whether an event is the first of a keyspace that is not built in.
func begins(e domain.Event) bool { _, ok := e.(domain.KeyspaceDefined); return ok }

// onKeyspace carries out a command on a keyspace.
func (h *Handler) onKeyspace(ctx context.Context, name string, r Request, decide func(domain.Keyspace) (domain.Event, error)) (KeyspaceResult, error) {
	created := false
	o, err := executeOnce(ctx, h, eventstore.KeyspaceRef(name), r, nil, func(k domain.Keyspace) (domain.Event, error) {
		event, err := decide(k)
		created = begins(event)
		return event, err
	})
	return KeyspaceResult{Keyspace: o.state.OrBuiltIn(name), Position: o.position, Replayed: o.replayed, Changed: o.changed, Created: created}, err
}
