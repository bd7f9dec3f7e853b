package forwarders

import (
	"cmp"
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/forwarders/transport"
	"github.com/keytrail/keytrail/internal/lease"
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
	metrics *metrics
}

// New is an engine that does not run yet.
func New(o Options) *Engine {
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	if o.Now == nil {
		o.Now = time.Now
	}
	e := &Engine{Options: o}
	e.metrics = newMetrics(o.Metrics)
	return e
}

// now is to the millisecond, as all times are that the API shows.
func (e *Engine) now() time.Time { return e.Now().UTC().Truncate(time.Millisecond) }

// Run runs the sinks whenever it can get the lease, until ctx ends. What is on its way to a
// receiver then has a moment to arrive; the next holder goes on from the checkpoints.
func (e *Engine) Run(ctx context.Context) error {
	lease.Run(ctx, lease.Options{Ledger: e.Ledger, Side: eventstore.Sinks, Node: e.Node, Alone: e.Alone, Logger: e.Logger, Now: e.Now}, e.runTenure)
	return nil
}
