package reactions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// A checkpoint is how far reactions have come, and how they fare. It is on the ledger: a restart and
// another process go on from it.
type checkpoint struct {
	domain.ReactionStatus
	Position eventstore.Position `json:"position"` // all that follows from the events up to it is on the ledger
	Event    string              `json:"event"`    // the id of the event there, which tells this ledger from another
	Term     uint64              `json:"term"`     // of the lease under which it was put
}

// checkpointName is what it is kept under in its side.
const checkpointName = "checkpoint"

// read reads the checkpoint. The first is at the beginning: what follows from old events is only what
// keyspaces said then.
func (e *Engine) read(ctx context.Context) (c checkpoint, revision eventstore.Position, err error) {
	s, err := e.Ledger.State(ctx, eventstore.Reactions, checkpointName)
	if err == nil && s.Revision > 0 {
		err = json.Unmarshal(s.Data, &c)
	}
	if err != nil {
		err = fmt.Errorf("read the checkpoint of reactions: %w", err)
	}
	return c, s.Revision, err
}

// load begins with the checkpoint, or at the beginning if it is of another ledger, or of an event that
// this one has lost.
func (t *tenure) load(ctx context.Context) (err error) {
	failing, last, at := t.checkpoint.FailingSince, t.checkpoint.LastError, t.checkpoint.LastErrorAt
	if t.checkpoint, t.revision, err = t.read(ctx); err != nil {
		t.checkpoint.FailingSince = failing
		return err
	}
	if !failing.IsZero() { // which could not be put down, perhaps
		t.checkpoint.FailingSince, t.checkpoint.LastError, t.checkpoint.LastErrorAt = failing, last, at
	}
	if t.checkpoint.Position == 0 {
		return nil
	}
	m, err := t.Ledger.Message(ctx, eventstore.Events, t.checkpoint.Position)
	if err != nil && !errors.Is(err, eventstore.ErrNoSuchPosition) {
		return err
	}
	if err != nil || m.ID() != t.checkpoint.Event {
		t.Logger.WarnContext(ctx, "the ledger is not the one that was reacted to; begins again, which changes nothing that was done", "position", t.checkpoint.Position)
		t.checkpoint.Position = 0
	}
	return nil
}

// put compares and sets.
func (t *tenure) put(ctx context.Context, c checkpoint) error {
	c.Node, c.Term = t.Node, t.lease.Term
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	revision, err := t.Ledger.PutState(ctx, eventstore.Reactions, checkpointName, t.revision, data)
	if err != nil {
		return err
	}
	t.checkpoint, t.revision = c, revision
	return nil
}

// maxRefusals is how many of the last refusals are kept: some 200 bytes each.
const maxRefusals = 20

// add counts what was done.
func (c *checkpoint) add(d done) {
	c.Issued += d.issued
	c.Revoked += d.revoked
	c.Refused += uint64(len(d.refusals))
	c.Refusals = append(c.Refusals[:len(c.Refusals):len(c.Refusals)], d.refusals...)
	c.Refusals = c.Refusals[max(0, len(c.Refusals)-maxRefusals):]
}

// Status is how reactions fare, whichever process carries them out.
func (e *Engine) Status(ctx context.Context) (domain.ReactionStatus, error) {
	c, _, err := e.read(ctx)
	if err != nil {
		return domain.ReactionStatus{}, err
	}
	c.ReactionStatus.Position = uint64(c.Position)
	c.LagEvents, err = e.Ledger.Count(ctx, e.after(c.Position))
	return c.ReactionStatus, err
}
