package eventstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The metadata of a restored stream, which has the state of the restoration. Open refuses a
// ledger until an operator has confirmed it.
const (
	restoreState = "keytrail-restore"
	incomplete   = "incomplete"
	unconfirmed  = "unconfirmed"
	confirmedAt  = "confirmed "
)

// The refusals of Open after a restoration.
var (
	ErrRestoreIncomplete  = errors.New("this ledger is an unfinished restoration: remove it and restore again")
	ErrRestoreUnconfirmed = errors.New("this ledger was restored from a back-up, and nobody has confirmed that it may serve: " +
		"what was revoked after the back-up is good again; see keytrail restore --help")
)

// checkRestored refuses a stream that is being restored, or was and is not confirmed,
// unless that is allowed.
func checkRestored(c jetstream.StreamConfig, allowed bool) error {
	switch state := c.Metadata[restoreState]; {
	case state == incomplete:
		return ErrRestoreIncomplete
	case state == unconfirmed && !allowed:
		return ErrRestoreUnconfirmed
	}
	return nil
}

// CheckVacant refuses a server that has a stream of a ledger: nothing of it is touched by a
// restoration, and no message advises its removal.
func CheckVacant(ctx context.Context, nc *nats.Conn) error {
	for _, c := range configs(Options{}) {
		if _, err := streamOn(ctx, nc, c.Name); !errors.Is(err, jetstream.ErrStreamNotFound) {
			return errors.Join(fmt.Errorf("the stream %s is there already: restore into NATS servers that hold nothing of Keytrail", c.Name), err)
		}
	}
	return nil
}

// Restore creates stream s on a server that has none of that name, with the messages that
// each calls its argument with, at their positions and with their times. The stream is
// incomplete until MarkRestored: a crash leaves nothing that would be served. Uses age out
// only when the ledger is opened, so that what was restored can be compared with its source.
func Restore(ctx context.Context, nc *nats.Conn, o Options, s Stream, ends Ends, each func(func(*Raw) error) error) error {
	config := configs(o)[s]
	config.MaxAge, config.MaxBytes = 0, -1
	config.Metadata = map[string]string{restoreState: incomplete}
	state := jetstream.StreamState{FirstSeq: uint64(ends.First), LastSeq: uint64(ends.Last)}
	if ends.First <= ends.Last {
		state.Msgs = uint64(ends.Last - ends.First + 1)
	}
	t := transfer{nc: nc, stream: s, state: state}
	if err := t.begin(ctx, config); err != nil {
		return fmt.Errorf("restore %s: %w", s, err)
	}
	content, w := io.Pipe()
	go func() { w.CloseWithError(t.write(w, each)) }()
	err := t.send(ctx, content)
	_ = content.CloseWithError(errors.New("the restoration ended"))
	if err != nil {
		return fmt.Errorf("restore %s: %w", s, err)
	}
	return nil
}

// CopyRestored is Copy for a ledger that Open still refuses.
func CopyRestored(ctx context.Context, nc *nats.Conn, s Stream, through Position, handle func(*Raw) error) error {
	stream, err := streamOn(ctx, nc, s.name())
	if err != nil {
		return err
	}
	return copyStream(ctx, stream, s, 0, through, handle)
}

// streamOn is a stream of a server whose ledger is not opened.
func streamOn(ctx context.Context, nc *nats.Conn, name string) (jetstream.Stream, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	return js.Stream(ctx, name)
}

// Restored is when the restoration that this ledger comes from was confirmed, as text; "": it
// was not restored from a back-up.
func (l *Ledger) Restored() string { return l.restored }

// MarkRestored puts into the metadata of both streams that they are complete. Open still refuses
// them, unless Unconfirmed, until ConfirmRestored.
func MarkRestored(ctx context.Context, nc *nats.Conn) error {
	return setRestoreState(ctx, nc, incomplete, unconfirmed)
}

// ConfirmRestored lets a restored ledger be opened by the service.
func ConfirmRestored(ctx context.Context, nc *nats.Conn, at time.Time) error {
	return setRestoreState(ctx, nc, unconfirmed, confirmedAt+at.UTC().Format(time.RFC3339))
}

// setRestoreState moves both streams from one state of a restoration to the next. It may be
// repeated after a crash between the two.
func setRestoreState(ctx context.Context, nc *nats.Conn, from, to string) error {
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	for _, s := range slices.Backward(Streams[:]) {
		stream, err := js.Stream(ctx, s.name())
		if err != nil {
			return fmt.Errorf("there is no restored ledger: %w", err)
		}
		config := stream.CachedInfo().Config
		switch config.Metadata[restoreState] {
		case from:
			config.Metadata[restoreState] = to
			if _, err := js.UpdateStream(ctx, config); err != nil {
				return err
			}
		case incomplete:
			return ErrRestoreIncomplete
		case "":
			return errors.New("this ledger was not restored from a back-up: there is nothing to confirm")
		}
	}
	return nil
}
