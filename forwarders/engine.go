package forwarders

import (
	"cmp"
	"context"
	"crypto/rand"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/forwarders/transport"
)

// Options are what an Engine stands on.
type Options struct {
	Ledger   *eventstore.Ledger
	Trail    *eventstore.Trail
	Catalog  Catalog
	Commands Commands
	Sender   func(transport.Receiver) (transport.Sender, error) // transport.New in the process's environment
	Origin   func() string                                      // what the ids of events begin with: it tells this ledger from others, and is another one when the Merkle logs are renewed
	Node     string                                             // the name of this process, for operators
	Alone    bool                                               // no other process is at the ledger: its server is this one's own
	Logger   *slog.Logger
	Metrics  prometheus.Registerer // nil: none
	Now      func() time.Time      // tells for how long a sink has failed; nil: time.Now
}

// An Engine runs all sinks of the installation while it holds the lease, and does what the API
// asks of sinks whether it holds it or not. It is safe for concurrent use.
type Engine struct {
	Options
	holder  string // tells this Engine from every other
	metrics *metrics
}

// New is an engine that does not run yet.
func New(o Options) *Engine {
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	if o.Now == nil {
		o.Now = time.Now
	}
	e := &Engine{Options: o, holder: rand.Text()}
	e.metrics = newMetrics(o.Metrics)
	return e
}

// now is to the millisecond, as all times are that the API shows.
func (e *Engine) now() time.Time { return e.Now().UTC().Truncate(time.Millisecond) }

// Run runs the sinks whenever it can get the lease, until ctx ends. What is on its way to a
// receiver then has a moment to arrive; the next holder goes on from the checkpoints.
func (e *Engine) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		l, err := e.acquire(ctx)
		if err != nil {
			return nil // ctx has ended
		}
		e.Logger.InfoContext(ctx, "this process forwards to sinks now", "term", l.term)
		e.hold(ctx, l)
	}
	return nil
}

// hold runs the sinks until ctx ends or the lease is lost.
func (e *Engine) hold(ctx context.Context, l *lease) {
	hard, lose := context.WithCancel(context.WithoutCancel(ctx))
	defer lose()
	renewing, stopRenewing := context.WithCancel(hard)
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.renew(renewing)
		if renewing.Err() == nil {
			e.Logger.WarnContext(ctx, "this process has lost the lease of sinks: another one forwards", "term", l.term)
			lose()
		}
	}()
	e.runTenure(ctx, hard, l)
	stopRenewing()
	<-done
	if hard.Err() == nil {
		l.release()
	}
}
