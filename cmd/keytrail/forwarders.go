package main

import (
	"context"
	"path"
	"time"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/forwarders"
	"github.com/keytrail/keytrail/forwarders/transport"
	"github.com/keytrail/keytrail/projections"
)

// forward makes what runs sinks, and runs them unless this process is not to.
func (s *service) forward() *forwarders.Engine {
	origin := func() string { return path.Base(s.merkle.LastOrigin()) }
	e := transport.Environment{Version: programVersion(), Outbound: s.outbound, Files: s.SinkFiles,
		Streams: func(ctx context.Context, org domain.OrgID, sink domain.SinkID, keep time.Duration) (transport.Stream, error) {
			return s.ledger.SinkStream(ctx, org, sink, keep)
		}}
	engine := forwarders.New(forwarders.Options{
		Ledger: s.ledger, Trail: s.trail, Catalog: sinkCatalog{s.store, s.commands}, Commands: s.commands, Origin: origin, Node: s.Node, Alone: s.nats != nil, Logger: s.log, Metrics: s.metrics,
		Sender: func(r transport.Receiver) (transport.Sender, error) {
			e := e
			e.Origin = origin()
			return transport.New(r, e)
		},
	})
	if s.Forward {
		s.run(engine.Run)
	}
	return engine
}

// A sinkCatalog is the read model's sinks, with their credentials opened.
type sinkCatalog struct {
	store    *projections.Store
	commands *commands.Handler
}

// Sinks are the revisions of all sinks.
func (c sinkCatalog) Sinks() (map[domain.SinkID]eventstore.Position, <-chan struct{}) {
	set, all := c.store.SinkSet(), map[domain.SinkID]eventstore.Position{}
	for row := range set.All() {
		all[row.ID] = row.Revision
	}
	return all, set.Changed()
}

// Sink is one sink, after an event.
func (c sinkCatalog) Sink(ctx context.Context, id domain.SinkID, after eventstore.Position) (forwarders.Sink, bool, error) {
	if err := c.store.WaitFor(ctx, after); err != nil {
		return forwarders.Sink{}, false, err
	}
	row := c.store.SinkSet().Find(id)
	if row == nil {
		return forwarders.Sink{}, false, nil
	}
	credentials, fault := c.commands.OpenCredentials(&row.Sink)
	s := forwarders.Sink{
		Receiver: transport.Receiver{Sink: row.ID, Org: row.Org, SinkDefinition: row.SinkDefinition, Credentials: credentials},
		Revision: row.Revision, Start: placeCursor(row.After), Paused: row.Paused(), Resumed: row.ResumedAt, Fault: fault,
	}
	if s.Format == "" {
		s.Format = s.Type.DefaultFormat()
	}
	if r := row.Replay; r != nil {
		s.Replay = &forwarders.Replay{Number: r.Number, From: placeCursor(r.From), To: placeCursor(r.To), DeadLetters: r.DeadLetters}
	}
	return s, true, nil
}

func placeCursor(p domain.TrailPlace) eventstore.Cursor {
	return eventstore.CursorAfter(eventstore.Position(p.Events), eventstore.Position(p.Uses))
}
