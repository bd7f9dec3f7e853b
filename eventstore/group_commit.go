package eventstore

import (
	"context"
	"errors"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
)

// minBatch is the least number of events that are worth an atomic batch: measured, one takes as
// long as 4 to 5 appends where the server stages it in memory, and 10 to 16 where it does so in
// files; its size hardly matters.
const minBatch = 8

// errAlone tells an event that it is to be appended by itself: nothing was sent.
var errAlone = &failed{Unavailable, errors.New("not in a batch")}

// A groupCommit lets events that arrive while an append is on its way share the next one, an
// atomic batch. An event that finds none on its way is appended at once, by its own goroutine.
//
// Each event is tried here once. What comes of nothing, a batch with one stale member for
// example, its caller repeats singly: so a batch makes appends cheaper, and changes nothing else.
type groupCommit struct {
	single func(context.Context, *nats.Msg) (*jetstream.PubAck, error)
	batch  func(context.Context, []*nats.Msg) (last Position, err error)
	sizes  prometheus.Histogram // of batches that were acknowledged
	failed prometheus.Counter

	mu       sync.Mutex
	busy     bool                // an append is on its way
	subjects map[string]struct{} // of that append
	waiting  []*member           // the longest first
}

// A member is an event that waits for a batch, or is on its way in one.
type member struct {
	message *nats.Msg
	done    chan memberResult // of capacity 1: the sender never waits
}

type memberResult struct {
	ack *jetstream.PubAck
	err error // classified
}

// append tries once to append m.
func (g *groupCommit) append(ctx context.Context, m *nats.Msg) (*jetstream.PubAck, error) {
	g.mu.Lock()
	if g.busy {
		w := &member{m, make(chan memberResult, 1)}
		g.waiting = append(g.waiting, w)
		g.mu.Unlock()
		return g.wait(ctx, w)
	}
	g.busy = true
	g.subjects = map[string]struct{}{m.Subject: {}}
	g.mu.Unlock()
	var ack *jetstream.PubAck
	err := try(ctx, func(ctx context.Context) (err error) {
		ack, err = g.single(ctx, m)
		return err
	})
	if batch := g.next(); batch != nil {
		go g.run(batch)
	}
	return ack, err
}

// wait waits for what becomes of w.
func (g *groupCommit) wait(ctx context.Context, w *member) (*jetstream.PubAck, error) {
	select {
	case r := <-w.done:
		return r.ack, r.err
	case <-ctx.Done():
		return nil, &failed{g.withdraw(w), ctx.Err()}
	}
}

// withdraw takes w back. It is too late if w is on its way.
func (g *groupCommit) withdraw(w *member) Failure {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range g.waiting {
		if g.waiting[i] == w {
			g.waiting = append(g.waiting[:i], g.waiting[i+1:]...)
			return Unavailable
		}
	}
	return Unknown
}

// run appends one batch after the other while there are events that wait.
func (g *groupCommit) run(batch []*member) {
	for ; batch != nil; batch = g.next() {
		g.send(batch)
	}
}

// next is the next batch, nil if there is none: then nothing is on its way any more. Events
// of the same aggregates as the append before are told to go alone: they are most likely
// stale, and would refuse a whole batch.
func (g *groupCommit) next() (batch []*member) {
	g.mu.Lock()
	defer g.mu.Unlock()
	waiting, before, size := g.waiting, g.subjects, 0
	g.waiting, g.subjects = nil, make(map[string]struct{}, min(len(waiting), maxAtomicMessages))
	for _, w := range waiting {
		_, stale := before[w.message.Subject]
		_, twice := g.subjects[w.message.Subject]
		switch {
		case stale:
			w.done <- memberResult{err: errAlone}
		case twice || len(batch) == maxAtomicMessages || size > maxAtomicBytes:
			g.waiting = append(g.waiting, w)
		default:
			batch, size = append(batch, w), size+w.message.Size()
			g.subjects[w.message.Subject] = struct{}{}
		}
	}
	if len(batch) < minBatch {
		answerAll(append(batch, g.waiting...), errAlone)
		batch, g.waiting, g.busy = nil, nil, false
	}
	return batch
}

// send tries once to append a batch, and tells its members.
func (g *groupCommit) send(batch []*member) {
	messages := make([]*nats.Msg, len(batch))
	for i, w := range batch {
		messages[i] = w.message
	}
	var last Position
	err := try(context.Background(), func(ctx context.Context) (err error) { // no member's own context
		last, err = g.batch(ctx, messages)
		return err
	})
	if err != nil && decided(err) { // for the batch: by itself each member may yet be written
		err = &failed{Unavailable, err}
	}
	if err != nil {
		g.failed.Inc()
		leaveBatch(messages)
		answerAll(batch, err)
		return
	}
	g.sizes.Observe(float64(len(batch)))
	first := last - Position(len(batch)) + 1
	for i, w := range batch {
		w.done <- memberResult{ack: &jetstream.PubAck{Sequence: uint64(first) + uint64(i)}}
	}
}

func answerAll(members []*member, err error) {
	for _, w := range members {
		w.done <- memberResult{err: err}
	}
}
