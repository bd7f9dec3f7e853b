package eventstore

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// A Checkpoint is how far a stream has been read, with what proves to a later start that the
// ledger is the one that was read: lost power can leave a ledger shorter than what was derived
// from it, and its sequences are then used again for other events.
type Checkpoint struct {
	Created  time.Time // of the stream
	Position Position
	Hash     uint64 // of the message at Position
}

// CheckpointAt is the checkpoint of a reader that has come to p; ErrNoSuchPosition if the
// ledger holds nothing there.
func (l *Ledger) CheckpointAt(ctx context.Context, s Stream, p Position) (Checkpoint, error) {
	info, err := l.info(ctx, s)
	if err != nil {
		return Checkpoint{}, err
	}
	c := Checkpoint{Created: info.Created, Position: p}
	if p == 0 {
		return c, nil
	}
	m, err := l.get(ctx, s, p)
	if errors.Is(err, ErrNoSuchPosition) {
		return c, err
	}
	if err != nil {
		return Checkpoint{}, fmt.Errorf("read %s at %d: %w", s, p, err)
	}
	c.Hash = hash(&m)
	return c, nil
}

// confirmations is how many times a position must be found missing, each time after a
// quorum has acknowledged an append of ours: a server that was cut off may take itself for
// the leader and lack what the others have.
const confirmations = 3

// Holds reports whether the ledger still has the message that c is of.
func (l *Ledger) Holds(ctx context.Context, s Stream, c Checkpoint) (bool, error) {
	if c.Position == 0 {
		return true, nil // it is of no message
	}
	for range confirmations {
		now, err := l.CheckpointAt(ctx, s, c.Position)
		switch {
		case errors.Is(err, ErrNoSuchPosition):
			if aged, err := l.agedOut(ctx, s, c); err != nil || aged {
				return aged, err
			}
		case err != nil:
			return false, err
		default:
			return now.Hash == c.Hash && now.Created.Equal(c.Created), nil
		}
		if err := l.beat(ctx); err != nil {
			return false, err
		}
	}
	return false, nil
}

// agedOut reports whether c is of a use that is older than the stream keeps them.
func (l *Ledger) agedOut(ctx context.Context, s Stream, c Checkpoint) (bool, error) {
	if s != Uses {
		return false, nil
	}
	info, err := l.info(ctx, s)
	return err == nil && Position(info.State.LastSeq) >= c.Position && info.Created.Equal(c.Created), err
}

// hash covers what distinguishes one message from another at the same position: its unique id
// and its content.
func hash(m *Raw) uint64 {
	h := sha256.New()
	h.Write([]byte(m.Subject))
	h.Write([]byte{0})
	h.Write([]byte(header(m.Header, jetstream.MsgIDHeader)))
	h.Write([]byte{0})
	h.Write(m.Data)
	return binary.BigEndian.Uint64(h.Sum(nil))
}
