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

// A Checkpoint proves to a later start that the ledger at Position is the one that was read:
// lost power can leave a ledger shorter than what was derived from it, and its sequences
// are then used again for other events.
type Checkpoint struct {
	Created  time.Time // of the stream
	Position Position
	Hash     uint64 // of the message at Position
}

// CheckpointAt reads the mark at p; ErrNoSuchPosition if the ledger holds nothing there.
func (l *Ledger) CheckpointAt(ctx context.Context, s Stream, p Position) (Checkpoint, error) {
	info, err := l.info(ctx, s)
	if err != nil {
		return Checkpoint{}, err
	}
	mark := Checkpoint{Created: info.Created, Position: p}
	if p == 0 {
		return mark, nil
	}
	m, err := l.get(ctx, s, p)
	if errors.Is(err, ErrNoSuchPosition) {
		return mark, err
	}
	if err != nil {
		return Checkpoint{}, fmt.Errorf("read %s at %d: %w", s, p, err)
	}
	mark.Hash = hash(m)
	return mark, nil
}

// confirmations is how many times a position must be found missing, each time after a
// quorum has acknowledged an append of ours: a server that was cut off may take itself for
// the leader and lack what the others have.
const confirmations = 3

// Holds tells whether the ledger still has what m was taken of.
func (l *Ledger) Holds(ctx context.Context, s Stream, m Checkpoint) (bool, error) {
	if m.Position == 0 {
		return true, nil // nothing was taken of it
	}
	for range confirmations {
		now, err := l.CheckpointAt(ctx, s, m.Position)
		switch {
		case errors.Is(err, ErrNoSuchPosition):
			if aged, err := l.agedOut(ctx, s, m); err != nil || aged {
				return aged, err
			}
		case err != nil:
			return false, err
		default:
			return now.Hash == m.Hash && now.Created.Equal(m.Created), nil
		}
		if err := l.beat(ctx); err != nil {
			return false, err
		}
	}
	return false, nil
}

// agedOut tells whether m was of a use that is older than the stream keeps them.
func (l *Ledger) agedOut(ctx context.Context, s Stream, m Checkpoint) (bool, error) {
	if s != Uses {
		return false, nil
	}
	info, err := l.info(ctx, s)
	return err == nil && Position(info.State.LastSeq) >= m.Position && info.Created.Equal(m.Created), err
}

// hash covers what tells one message from another at the same position: its unique id
// and its content.
func hash(m stored) uint64 {
	h := sha256.New()
	h.Write([]byte(m.subject))
	h.Write([]byte{0})
	h.Write([]byte(header(m.header, jetstream.MsgIDHeader)))
	h.Write([]byte{0})
	h.Write(m.data)
	return binary.BigEndian.Uint64(h.Sum(nil))
}
