package eventstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

// The stream of tiles has the hashes of the Merkle logs and their last checkpoints, a subject
// each. Those of messages that have aged out cannot be computed again, so that it is durable data.
const (
	tilesName = "KEYTRAIL_TILES"
	tilesRoot = "keytrail.tiles."
)

// ErrNoTile is a tile, or a checkpoint, that was never put.
var ErrNoTile = errors.New("there is no such tile")

// A TileRef names a tile of a Merkle log (C2SP tlog-tiles), or its last checkpoint.
type TileRef struct {
	Log    uint64 // the number of the installation's logs, of which a restoration begins the next
	Stream Stream
	Name   string // "<level>.<index>", checkpointName or cosignedName
}

const (
	checkpointName = "checkpoint"
	cosignedName   = "cosigned"
)

// NewTileRef names a tile by its level and its index in that.
func NewTileRef(log uint64, s Stream, level int, index int64) TileRef {
	return TileRef{log, s, strconv.Itoa(level) + "." + strconv.FormatInt(index, 10)}
}

// CheckpointRef names the last checkpoint of a log.
func CheckpointRef(log uint64, s Stream) TileRef { return TileRef{log, s, checkpointName} }

// CosignedRef names the last checkpoint of a log that witnesses have signed, with what they signed.
func CosignedRef(log uint64, s Stream) TileRef { return TileRef{log, s, cosignedName} }

func (r TileRef) subject() string {
	return tilesRoot + strconv.FormatUint(r.Log, 10) + "." + r.Stream.String() + "." + r.Name
}

func (r TileRef) String() string { return strings.TrimPrefix(r.subject(), tilesRoot) }

// A Tile is what is kept under a TileRef. Its revision is what PutTile compares.
type Tile struct {
	Data     []byte
	Revision Position // 0: there is none
	Stored   time.Time
}

// Tile is the tile as the stream's leader has it; ErrNoTile.
func (l *Ledger) Tile(ctx context.Context, ref TileRef) (Tile, error) {
	var m *jetstream.RawStreamMsg
	err := retry(ctx, func(ctx context.Context) (err error) {
		m, err = l.tiles.GetLastMsgForSubject(ctx, ref.subject())
		return err
	})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return Tile{}, ErrNoTile
	}
	if err != nil {
		return Tile{}, fmt.Errorf("read the tile %s: %w", ref, err)
	}
	return Tile{Data: m.Data, Revision: Position(m.Sequence), Stored: m.Time}, nil
}

// PutTile replaces the tile of revision after, 0: one that is not there, and gives the new
// revision. ErrConflict: it has another one, which after a lost acknowledgement may be this.
func (l *Ledger) PutTile(ctx context.Context, ref TileRef, after Position, data []byte) (Position, error) {
	if err := l.Suspended(); err != nil {
		return 0, err
	}
	m := nats.NewMsg(ref.subject())
	m.Data = data
	m.Header.Set(jetstream.MsgIDHeader, nuid.Next())
	m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(uint64(after), 10))
	var ack *jetstream.PubAck
	err := retry(ctx, func(ctx context.Context) (err error) {
		ack, err = l.publishOnce(ctx, m)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("put the tile %s after %d: %w", ref, after, err)
	}
	return Position(ack.Sequence), nil
}
