package eventstore

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Beat appends a heartbeat and asks for the streams' ends every second, until ctx ends.
func (l *Ledger) Beat(ctx context.Context) error {
	var tasks sync.WaitGroup
	for _, ask := range []func(context.Context) error{
		l.beat,
		func(ctx context.Context) error { return l.look(ctx, Events) },
		func(ctx context.Context) error { return l.look(ctx, Uses) },
	} {
		tasks.Go(func() {
			tick := time.NewTicker(beatEvery)
			defer tick.Stop()
			for ctx.Err() == nil {
				_ = ask(ctx) // Health tells what did not come
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

// beat tries once to append a heartbeat: if it is acknowledged, a quorum of the servers
// could be reached from here after beat was called.
func (l *Ledger) beat(ctx context.Context) error {
	err := try(ctx, func(ctx context.Context) error {
		_, err := l.js.PublishMsg(ctx, nats.NewMsg(l.heartbeats))
		return err
	})
	if err == nil {
		l.acknowledge()
	}
	return err
}

// acknowledge takes down that an append was.
func (l *Ledger) acknowledge() {
	now := time.Now()
	l.acknowledged.Store(&now)
}

// look asks once for the stream's end. An end before what was read is not believed, but
// makes the reader compare.
func (l *Ledger) look(ctx context.Context, s Stream) error {
	u := &l.pulses[s]
	applied := u.applied.Load()
	var info *jetstream.StreamInfo
	err := try(ctx, func(ctx context.Context) (err error) {
		info, err = l.streams[s].Info(ctx)
		return err
	})
	if err != nil {
		return err
	}
	now := time.Now()
	u.answered.Store(&now)
	if u.reach(Position(info.State.LastSeq)); info.State.LastSeq < applied {
		u.doubt()
	}
	return nil
}
