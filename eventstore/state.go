package eventstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

// A State is what a side keeps under a name: the last that was put.
type State struct {
	Data     []byte
	Revision Position // 0: nothing was put
}

// State is what the leader of a side's stream has under a name.
func (l *Ledger) State(ctx context.Context, s Side, name string) (State, error) {
	var m *jetstream.RawStreamMsg
	err := retry(ctx, func(ctx context.Context) (err error) {
		m, err = l.side(s).GetLastMsgForSubject(ctx, s.root()+name)
		return err
	})
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return State{}, nil
	case err != nil:
		return State{}, fmt.Errorf("read %s of %s: %w", name, s, err)
	}
	return State{Data: m.Data, Revision: Position(m.Sequence)}, nil
}

// PutState replaces the state of revision after, 0: none, and gives the new revision.
// ErrConflict: it has another one, which another process has put. It is put whatever suspends
// appends: a state takes the place of the one before.
func (l *Ledger) PutState(ctx context.Context, s Side, name string, after Position, data []byte) (Position, error) {
	m := nats.NewMsg(s.root() + name)
	m.Data = data
	m.Header.Set(jetstream.MsgIDHeader, nuid.Next())
	m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(uint64(after), 10))
	var ack *jetstream.PubAck
	err := retry(ctx, func(ctx context.Context) (err error) {
		ack, err = l.publishOnce(ctx, m)
		return err
	})
	if err == nil {
		return Position(ack.Sequence), nil
	}
	if FailureOf(err) == Conflict { // with an earlier try of ours, perhaps, whose acknowledgement was lost
		if now, readErr := l.State(ctx, s, name); readErr == nil && now.Revision > after && bytes.Equal(now.Data, data) {
			return now.Revision, nil
		}
	}
	return 0, fmt.Errorf("put %s of %s after %d: %w", name, s, after, err)
}
