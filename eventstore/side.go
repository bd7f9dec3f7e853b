package eventstore

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A Side is a stream beside the ledger that is a part of its back-ups: of each of its subjects the
// last message counts.
type Side uint8

// The sides.
const (
	Sinks     Side = iota // how far they have come
	Reactions             // how far they have come
	Months                // what the uses of the last months cost
	Tiles                 // of the Merkle logs
)

// Sides are all of them.
var Sides = [...]Side{Sinks, Reactions, Months, Tiles}

func (s Side) String() string { return [...]string{"sinks", "reactions", "months", "tiles"}[s] }

func (s Side) name() string { return [...]string{sinksName, reactionsName, monthsName, tilesName}[s] }

func (s Side) root() string { return [...]string{sinksRoot, reactionsRoot, monthsRoot, tilesRoot}[s] }

func (s Side) config(o Options) jetstream.StreamConfig {
	switch s {
	case Reactions:
		return reactionsConfig(o)
	case Months:
		return monthsConfig(o)
	case Tiles:
		return tilesConfig(o)
	}
	return sinkConfigs(o)[0]
}

func (l *Ledger) side(s Side) jetstream.Stream {
	return [...]jetstream.Stream{l.sinks, l.reactions, l.months, l.tiles}[s]
}

// The stream of reactions has the lease of the process that reacts, and how far it has come.
const (
	reactionsName = "KEYTRAIL_REACTIONS"
	reactionsRoot = "keytrail.reactions."
)

// reactionsConfig is that of the stream of reactions: the last message of each subject. Nothing ends
// otherwise: nothing can be deleted or purged, and a full disk refuses the new and not the old.
func reactionsConfig(o Options) jetstream.StreamConfig {
	return keptAlike(o, jetstream.StreamConfig{
		Name: reactionsName, Subjects: []string{reactionsRoot + "*"}, DenyDelete: true, DenyPurge: true,
		MaxMsgs: -1, MaxBytes: -1, MaxMsgsPerSubject: 1, Discard: jetstream.DiscardNew,
	})
}

// CopySide calls handle with every message of s, in the order in which they were put. One that is
// replaced meanwhile may come twice: the later one counts.
func (l *Ledger) CopySide(ctx context.Context, s Side, handle func(*Raw) error) error {
	return copySide(ctx, l.side(s), handle)
}

func copySide(ctx context.Context, stream jetstream.Stream, handle func(*Raw) error) error {
	c := copier{stream: stream, name: stream.CachedInfo().Config.Name, sparse: true, handle: handle}
	for {
		info, err := stream.Info(ctx)
		if err != nil {
			return err
		}
		c.through = Position(info.State.LastSeq)
		if c.at >= c.through {
			return nil
		}
		if err := c.run(ctx); err != nil {
			return err
		}
	}
}

// RestoreSide creates the stream of s on a server that has none, with what each calls its argument
// with.
func RestoreSide(ctx context.Context, nc *nats.Conn, o Options, s Side, each func(func(*Raw) error) error) error {
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	if _, err := js.CreateStream(ctx, s.config(o)); err != nil {
		return fmt.Errorf("restore %s: %w", s, err)
	}
	return each(func(m *Raw) error {
		if !strings.HasPrefix(m.Subject, s.root()) {
			return fmt.Errorf("the message at position %d does not belong to %s", m.Position, s)
		}
		id := "restored." + strconv.FormatUint(uint64(m.Position), 10) // a repeat is dropped
		return retry(ctx, func(ctx context.Context) error {
			_, err := js.Publish(ctx, m.Subject, m.Data, jetstream.WithMsgID(id), jetstream.WithRetryAttempts(0))
			return err
		})
	})
}

// CopyRestoredSide is CopySide for a ledger that Open still refuses.
func CopyRestoredSide(ctx context.Context, nc *nats.Conn, s Side, handle func(*Raw) error) error {
	stream, err := streamOn(ctx, nc, s.name())
	if err != nil {
		return err
	}
	return copySide(ctx, stream, handle)
}
