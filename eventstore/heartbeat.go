package eventstore

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// beatEvery is how often an append is proven and the ends are asked for.
const beatEvery = time.Second

// Beat appends a heartbeat and asks for the streams' ends every second, until ctx ends.
func (l *Ledger) Beat(ctx context.Context) error {
	var tasks sync.WaitGroup
	for _, ask := range []func(context.Context) error{
		l.beat,
		func(ctx context.Context) error { return l.askEnd(ctx, Events) },
		func(ctx context.Context) error { return l.askEnd(ctx, Uses) },
	} {
		tasks.Go(func() {
			tick := time.NewTicker(beatEvery)
			defer tick.Stop()
			for ctx.Err() == nil {
				_ = ask(ctx) // Health says what did not come
				select {
				case <-ctx.Done():
				case <-tick.C:
				}
			}
		})
	}
	tasks.Wait()
	return nil
}

// Confirm is nil if a quorum of the servers acknowledged a message just now: what one of them said
// before may be out of date, and what it says from now on is not of a leader that was cut off.
func (l *Ledger) Confirm(ctx context.Context) error { return l.beat(ctx) }

// beat tries once to append a heartbeat: if it is acknowledged, a quorum of the servers
// could be reached from here after beat was called.
func (l *Ledger) beat(ctx context.Context) error {
	err := try(ctx, func(ctx context.Context) error {
		_, err := l.js.PublishMsg(ctx, nats.NewMsg(l.heartbeatSubject))
		return err
	})
	if err == nil {
		l.acknowledge()
	}
	return err
}

// acknowledge notes that an append was acknowledged.
func (l *Ledger) acknowledge() {
	now := time.Now()
	l.acknowledged.Store(&now)
}

// askEnd asks once for the stream's end. An end before what was read is not believed, but
// makes the reader compare its checkpoint.
func (l *Ledger) askEnd(ctx context.Context, s Stream) error {
	h := &l.health[s]
	applied := h.applied.Load()
	var info *jetstream.StreamInfo
	err := try(ctx, func(ctx context.Context) (err error) {
		info, err = l.streams[s].Info(ctx)
		return err
	})
	if err != nil {
		return err
	}
	now := time.Now()
	h.answered.Store(&now)
	h.advanceEnd(Position(info.State.LastSeq))
	if info.State.LastSeq < applied {
		h.suspectLoss()
	}
	return nil
}
