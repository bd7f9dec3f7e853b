package forwarders

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/forwarders/format"
)

// A pass is one forwarding of a part of the trail to a sink: of all that comes, or a replay. It is
// a handler of the router, and the subscriber that feeds it.
type pass struct {
	tenure    *tenure
	sink      Sink
	receiver  *receiver
	write     format.Format
	name      string // of the handler
	stateName string // of the checkpoint
	number    int    // of the replay; 0: it is none
	begin     eventstore.Cursor
	upto      *eventstore.Cursor // nil: there is no end
	letters   bool               // it delivers dead letters

	hard    context.Context // of what is on its way to the receiver
	kill    context.CancelFunc
	handler *message.Handler
	sending sync.Mutex // held during an attempt
	stopped bool       // under sending: there are no more attempts

	saving   sync.Mutex // held while the checkpoint is put
	revision eventstore.Position

	mu         sync.Mutex // of all below
	checkpoint Checkpoint
	saved      time.Time
	kept       eventstore.Cursor // as it was saved last
	dirty      bool
	timer      *time.Timer // of the next save; nil: none is due
	ended      bool        // the checkpoint is put no more
	underWay   []time.Time // of each batch that was read and is not done: when its first event was stored
	attempted  time.Time   // when an attempt that succeeded was last told
}

// newPass is the pass of all that comes.
func newPass(t *tenure, s Sink, r *receiver) *pass {
	p := &pass{tenure: t, sink: s, receiver: r, name: string(s.Sink), stateName: eventstore.CheckpointState(s.Sink), begin: s.Start}
	p.write = format.Of(s.Format)
	p.hard, p.kill = context.WithCancel(t.hard)
	return p
}

// newReplay is the pass of a replay.
func newReplay(t *tenure, s Sink, r *receiver) *pass {
	p := newPass(t, s, r)
	p.name, p.stateName = p.name+"/replay", eventstore.ReplayState(s.Sink)
	p.number, p.begin, p.upto, p.letters = s.Replay.Number, s.Replay.From, &s.Replay.To, s.Replay.DeadLetters
	return p
}

func (p *pass) engine() *Engine { return p.tenure.engine }

func (p *pass) log() *slog.Logger {
	return p.engine().Logger.With("sink", string(p.sink.Sink), "org", string(p.sink.Org), "type", string(p.sink.Type))
}

// filterOf chooses what a sink is to get: of its organization alone, but for one of the
// installation.
func filterOf(s Sink) eventstore.Filter {
	f := eventstore.Filter{Reach: domain.Only(s.Org), Types: eventTypes(s.SinkDefinition)}
	if s.Uses.Mode == usesSampled {
		f.OneIn = s.Uses.OneIn
	}
	if s.Org == domain.Installation {
		f.Reach = domain.All
	}
	return f
}

// stopGrace is how long what is on its way to a receiver may take to arrive when its sink, or the
// process, stops. What is cut off is sent again, under the same id.
const stopGrace = 5 * time.Second

// stop ends the pass and puts its checkpoint down. Nothing is sent once it has returned.
func (p *pass) stop() {
	if p.handler != nil {
		p.handler.Stop()
		<-p.handler.Stopped()
	}
	timer := time.AfterFunc(stopGrace, p.kill)
	p.sending.Lock()
	p.stopped = true
	p.sending.Unlock()
	timer.Stop()
	p.kill()
	p.save()
	p.mu.Lock()
	p.ended = true
	p.mu.Unlock()
}

// failing reports whether the last attempt failed; none has of no pass.
func (p *pass) failing() bool {
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.checkpoint.FailingSince.IsZero()
}

// end notes that a replay has come to its end.
func (p *pass) end(ctx context.Context) error {
	p.mu.Lock()
	r := domain.SinkReplayResult{Delivered: p.checkpoint.Delivered, Rejected: p.checkpoint.Rejected}
	p.mu.Unlock()
	return p.engine().Commands.EndSinkReplay(ctx, p.sink.Org, p.sink.Sink, p.number, r)
}
