package forwarders

import (
	"context"
	"log/slog"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/forwarders/transport"
	"github.com/keytrail/keytrail/internal/backoff"
	"github.com/keytrail/keytrail/internal/lease"
)

// A tenure is the time in which this process has the lease: a router with a handler for each sink.
type tenure struct {
	engine   *Engine
	lease    *lease.Lease
	soft     context.Context // ends when nothing more is to be begun
	hard     context.Context // ends when the lease is lost, or what was begun has had its time
	fence    context.CancelFunc
	router   *message.Router
	breakers *breakers
	turns    chan struct{} // slots for reading and putting checkpoints, and for making streams

	sinks atomic.Int64 // how many there are

	mu    sync.Mutex
	slots map[domain.SinkID]*slot
	tasks sync.WaitGroup
}

// maxTurns is how many checkpoints are read or put at once. A server takes one after the other:
// those of ten thousand sinks that get something at the same time must not keep the lease's
// renewal, nor uses, waiting until it is too late for them.
const maxTurns = 32

// The memory of what was read for sinks and not delivered yet. Each sink has an equal share, so that
// as many receivers as there are may hang, and keep no other waiting.
const (
	sinksMemory = 512 << 20
	minShare    = 64 << 10 // of a sink's batch
	copies      = 4        // of a batch: one on its way, the next, and the page that it is made of, read and written
	eventBytes  = 1 << 10  // of an event, about
)

// share is how many bytes a batch may have.
func (t *tenure) share() int {
	return max(minShare, sinksMemory/copies/int(max(1, t.sinks.Load())))
}

// runTenure runs the sinks until soft or hard ends.
func (e *Engine) runTenure(soft, hard context.Context, l *lease.Lease) {
	hard, fence := context.WithCancel(hard)
	defer fence()
	soft, end := context.WithCancel(soft)
	defer end()
	defer context.AfterFunc(hard, end)()
	t := &tenure{engine: e, lease: l, soft: soft, hard: hard, fence: fence, breakers: newBreakers(), turns: make(chan struct{}, maxTurns), slots: map[domain.SinkID]*slot{}}
	e.metrics.follow(t)
	defer e.metrics.follow(nil)
	if err := t.start(); err != nil {
		e.Logger.Error("sinks are not run", "err", err) // the router's settings are constants
		return
	}
	<-soft.Done()
	t.stop()
}

// start runs the router, with a handler for each sink and one that hears of changes. That one has
// no end: a router without handlers would close.
func (t *tenure) start() (err error) {
	t.router, err = message.NewRouter(message.RouterConfig{CloseTimeout: stopGrace}, t.watermillLog())
	if err != nil {
		return err
	}
	changes := &changes{tenure: t}
	t.router.AddConsumerHandler("changes", "changes", changes, changes.handle)
	t.tasks.Go(func() { _ = t.router.Run(t.soft) }) // it says nothing that is not known
	t.tasks.Go(t.hearTests)
	t.tasks.Go(t.sweep)
	return nil
}

// stop ends all sinks at once, and then the router.
func (t *tenure) stop() {
	t.mu.Lock()
	var stops sync.WaitGroup
	for _, s := range t.slots {
		stops.Go(s.close)
	}
	t.mu.Unlock()
	stops.Wait()
	if t.router != nil {
		_ = t.router.Close()
	}
	t.tasks.Wait()
}

// watermillLog is what the router says: of each message and handler, for debugging alone.
func (t *tenure) watermillLog() watermill.LoggerAdapter {
	return watermill.NewSlogLoggerWithLevelMapping(t.engine.Logger, map[slog.Level]slog.Level{slog.LevelInfo: slog.LevelDebug, slog.LevelError: slog.LevelDebug})
}

// apply makes a sink run as it is to run. It waits for nothing: one that takes long to stop keeps
// none waiting.
func (t *tenure) apply(id domain.SinkID, s Sink, exists bool) {
	t.mu.Lock()
	of, ok := t.slots[id]
	if !ok {
		of = &slot{tenure: t}
		t.slots[id] = of
	}
	t.mu.Unlock()
	t.tasks.Go(func() { of.converge(id, s, exists) })
}

// forget drops what a sink that is deleted had.
func (t *tenure) forget(id domain.SinkID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.slots, id)
}

// A slot has the passes of one sink.
type slot struct {
	tenure *tenure

	mu     sync.Mutex // held while they change
	closed bool
	sink   Sink

	now struct { // what runs, for metrics
		sync.Mutex
		id           domain.SinkID
		of           domain.SinkType
		receiver     *receiver
		live, replay *pass
	}
}

// converge starts and stops passes.
func (s *slot) converge(id domain.SinkID, want Sink, exists bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed || s.tenure.soft.Err() != nil:
		return
	case !exists:
		s.stop()
		s.closed = true
		s.tenure.breakers.forget(s.sink)
		s.tenure.forget(id)
		if err := s.tenure.engine.Ledger.DeleteSink(s.tenure.soft, id); err != nil {
			s.tenure.engine.Logger.Warn("what was kept of a deleted sink is still there", "sink", string(id), "err", err)
		}
		return
	case want.Revision <= s.sink.Revision:
		return
	}
	before := s.sink
	s.sink = want
	s.set(func() { s.now.id, s.now.of = want.Sink, want.Type })
	// A sink that was paused and resumed since may never have been seen paused, and its pass has ended.
	if !reflect.DeepEqual(before.Receiver, want.Receiver) || before.Paused != want.Paused || !before.Resumed.Equal(want.Resumed) {
		s.tenure.breakers.forget(before) // its host may have been another one
		s.restart()
	}
	s.followReplay(want)
}

// restart begins anew with what the sink is now, as if its receiver had not failed before.
func (s *slot) restart() {
	s.stop()
	s.tenure.breakers.forget(s.sink)
	s.start(s.sink)
}

// start begins the pass of what comes, unless the sink is paused.
func (s *slot) start(want Sink) {
	sender := s.tenure.engine.senderOf(want)
	s.tenure.prepare(want, sender)
	if want.Paused {
		_ = sender.Close()
		return
	}
	r := &receiver{sender: sender}
	live := newPass(s.tenure, want, r)
	s.now.Lock()
	s.now.receiver, s.now.live = r, live
	s.now.Unlock()
	s.tenure.run(live)
}

// prepare makes the receiver of a sink, if that is ours to make, also for one that is paused.
func (t *tenure) prepare(s Sink, sender transport.Sender) {
	p, ok := sender.(transport.Preparer)
	if !ok {
		return
	}
	t.turns <- struct{}{}
	defer func() { <-t.turns }()
	ctx, cancel := context.WithTimeout(t.soft, saveTimeout)
	defer cancel()
	if err := p.Prepare(ctx); err != nil && t.soft.Err() == nil {
		t.engine.Logger.WarnContext(ctx, "the receiver of a sink was not made; its first event makes it", "sink", string(s.Sink), "err", err)
	}
}

// followReplay begins the replay that is asked for, and ends one that is not.
func (s *slot) followReplay(want Sink) {
	running := s.now.replay
	if running != nil && (want.Replay == nil || want.Replay.Number != running.number) {
		running.stop()
		s.set(func() { s.now.replay = nil })
		running = nil
	}
	if running == nil && want.Replay != nil && s.now.receiver != nil {
		replay := newReplay(s.tenure, want, s.now.receiver)
		s.set(func() { s.now.replay = replay })
		s.tenure.run(replay)
	}
}

func (s *slot) set(f func()) {
	s.now.Lock()
	defer s.now.Unlock()
	f()
}

// stop ends both passes and the sender.
func (s *slot) stop() {
	for _, p := range []*pass{s.now.live, s.now.replay} {
		if p != nil {
			p.stop()
		}
	}
	if s.now.receiver != nil {
		_ = s.now.receiver.sender.Close()
	}
	s.set(func() { s.now.receiver, s.now.live, s.now.replay = nil, nil, nil })
}

// close is stop, after which nothing begins again.
func (s *slot) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stop()
	s.closed = true
}

// run makes p a handler of the router.
func (t *tenure) run(p *pass) {
	p.handler = t.router.AddConsumerHandler(p.name, p.name, &subscriber{pass: p}, t.chain(p))
	if err := t.router.RunHandlers(t.soft); err != nil {
		p.log().Error("a sink was not started", "err", err) // no subscriber of ours refuses
	}
}

// senderOf makes the sender of a sink. One that cannot be made fails like one that is unreachable:
// the sink's operator sees why, and mends it.
func (e *Engine) senderOf(s Sink) transport.Sender {
	if s.Fault != nil {
		return unusable{s.Fault}
	}
	sender, err := e.Sender(s.Receiver)
	if err != nil {
		return unusable{err}
	}
	return sender
}

// An unusable sender stands for one that cannot be made of what its sink says.
type unusable struct{ err error }

func (u unusable) Send(_ context.Context, events []transport.Event) transport.Result {
	return transport.All(len(events), &transport.Failure{Kind: transport.Again, Text: u.err.Error()})
}

func (u unusable) Limits() transport.Limits { return transport.Limits{Events: 1} }

func (u unusable) Close() error { return nil }

// changes is the subscriber, and the handler, of what becomes of sinks: each of its messages is the
// id of one that is not as it was.
type changes struct {
	tenure *tenure
	known  map[domain.SinkID]eventstore.Position
}

// Subscribe gives a message for each sink that there is, and then for each that changes.
func (c *changes) Subscribe(ctx context.Context, _ string) (<-chan *message.Message, error) {
	out := make(chan *message.Message)
	go func() {
		defer close(out)
		for ctx.Err() == nil {
			now, changed := c.tenure.engine.Catalog.Sinks()
			c.tenure.sinks.Store(int64(len(now)))
			for _, id := range c.differing(now) {
				if !c.give(ctx, id, out) {
					return
				}
			}
			c.known = now
			select {
			case <-changed:
			case <-ctx.Done():
			}
		}
	}()
	return out, nil
}

// Close does nothing: the subscription ends with its context.
func (c *changes) Close() error { return nil }

// differing are the sinks that are new, other than they were, or gone.
func (c *changes) differing(now map[domain.SinkID]eventstore.Position) (ids []domain.SinkID) {
	for id, revision := range now {
		if c.known[id] != revision {
			ids = append(ids, id)
		}
	}
	for id := range c.known {
		if _, ok := now[id]; !ok {
			ids = append(ids, id)
		}
	}
	return ids
}

// give sends an id until it is acknowledged. It reports whether ctx has not ended.
func (c *changes) give(ctx context.Context, id domain.SinkID, out chan<- *message.Message) bool {
	for {
		m := message.NewMessage(string(id), nil)
		m.SetContext(ctx)
		select {
		case out <- m:
		case <-ctx.Done():
			return false
		}
		select {
		case <-m.Acked():
			return true
		case <-m.Nacked():
			if backoff.Sleep(ctx, backoff.Jitter(time.Second)) != nil {
				return false
			}
		case <-ctx.Done():
			return false
		}
	}
}

// handle makes a sink run as it is.
func (c *changes) handle(m *message.Message) error {
	id := domain.SinkID(m.UUID)
	s, exists, err := c.tenure.engine.Catalog.Sink(m.Context(), id, 0)
	if err != nil {
		c.tenure.engine.Logger.WarnContext(m.Context(), "a sink cannot be run; will try again", "sink", m.UUID, "err", err)
		return err
	}
	c.tenure.apply(id, s, exists)
	return nil
}
