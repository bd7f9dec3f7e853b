package audit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keytrail/keytrail/eventstore"
)

// Cosigned is the last checkpoint of a stream's current log that witnesses have signed;
// ErrNoCheckpoint.
func (l *Log) Cosigned(ctx context.Context, s eventstore.Stream) (Checkpoint, error) {
	t, err := l.Current(ctx)
	if err != nil {
		return Checkpoint{}, err
	}
	kept, err := l.ledger.Tile(ctx, eventstore.CosignedRef(t.Number, s))
	if errors.Is(err, eventstore.ErrNoTile) {
		return Checkpoint{log: t.Number, stream: s}, ErrNoCheckpoint
	}
	if err != nil {
		return Checkpoint{}, err
	}
	c, err := ParseCheckpoint(kept.Data)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("the last cosigned checkpoint of log %d of %s: %w", t.Number, s, err)
	}
	c.Published, c.revision, c.log, c.stream = kept.Stored, kept.Revision, t.Number, s
	return c, nil
}

// PutCosigned replaces what Cosigned gave by a later one, or by the same with more signatures. It
// fails if another process did so first.
func (l *Log) PutCosigned(ctx context.Context, before Checkpoint, cosigned []byte) error {
	_, err := l.ledger.PutTile(ctx, eventstore.CosignedRef(before.log, before.stream), before.revision, cosigned)
	return err
}

// maxCosignedLag is how much older than the last checkpoint one that witnesses have signed may be to
// be published in its place: some rounds of asking them. Witnesses that do not answer for longer
// keep no checkpoint from being published.
const maxCosignedLag = 10 * time.Second

// Published is the checkpoint that readers are given: the last one that witnesses have signed, if
// the last one of all is little younger, or else that.
func (l *Log) Published(ctx context.Context, s eventstore.Stream) (Checkpoint, error) {
	last, err := l.Checkpoint(ctx, s)
	if err != nil {
		return last, err
	}
	cosigned, err := l.Cosigned(ctx, s)
	if errors.Is(err, ErrNoCheckpoint) {
		return last, nil
	}
	if err != nil || lags(cosigned, last) {
		return last, err
	}
	return cosigned, nil
}

// lags reports whether a cosigned checkpoint is too old to be published. Its age is none if the
// server's clock was set back since.
func lags(cosigned, last Checkpoint) bool {
	return cosigned.Size < last.Size && last.Published.Sub(cosigned.Published).Abs() > maxCosignedLag
}

// Covering is a checkpoint that has a leaf: the published one if it does, or else the last one.
// ErrNoCheckpoint if that does not have it either.
func (l *Log) Covering(ctx context.Context, s eventstore.Stream, leaf int64) (Checkpoint, error) {
	c, err := l.Published(ctx, s)
	if err == nil && c.Size <= leaf {
		c, err = l.Checkpoint(ctx, s)
	}
	if err == nil && c.Size <= leaf {
		err = ErrNoCheckpoint
	}
	return c, err
}
