package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/keytrail/keytrail/api"
	"github.com/keytrail/keytrail/audit"
	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/forwarders"
	"github.com/keytrail/keytrail/internal/keyring"
	"github.com/keytrail/keytrail/internal/password"
	"github.com/keytrail/keytrail/internal/token"
	"github.com/keytrail/keytrail/projections"
	"github.com/keytrail/keytrail/reactions"
	"github.com/keytrail/keytrail/sso"
	"github.com/keytrail/keytrail/verify"
)

// A service is the parts of a running service. Each step of serve makes some, and says how
// they are taken down.
type service struct {
	Config
	parsedConfig
	errs    io.Writer
	metrics *prometheus.Registry
	stops   []func() error // in the order of the steps

	nats           *eventstore.Server // the embedded one; nil: an external one is used
	http           *httpServer
	connections    *connections
	extAuthz       net.Listener // of Envoy's external authorization; nil: it is not served
	subscribers    net.Listener // of NATS; nil: they are not served
	ledger         *eventstore.Ledger
	store          *projections.Store
	commands       *commands.Handler
	trail          *eventstore.Trail // both streams as one, for the API and for sinks
	forwarders     *forwarders.Engine
	reactions      *reactions.Engine
	tokens         *token.Issuer
	party          *sso.Party // of single sign-on; nil: there is none
	merkle         *audit.Log // the Merkle logs
	checkpointKeys audit.Keys
	signer         *audit.Signer

	background context.Context // of the tasks, which outlive the requests
	tasks      *errgroup.Group
	madeRoot   bool // the root key was made by this start
}

// newService checks the settings before anything is started.
func newService(c Config, errs io.Writer) (*service, error) {
	p, err := c.parse(errs)
	if err != nil {
		return nil, err
	}
	slog.SetDefault(p.log) // what libraries say through package log becomes a line of ours
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), buildInfo())
	return &service{Config: c, parsedConfig: p, errs: errs, metrics: metrics}, nil
}

func (s *service) onStop(f func() error) { s.stops = append(s.stops, f) }

// stop takes down what was built, in reverse.
func (s *service) stop() (err error) {
	for _, f := range slices.Backward(s.stops) {
		err = errors.Join(err, f())
	}
	return err
}

// listen takes the lock on the data directory and opens the port.
func (s *service) listen(ctx context.Context) (err error) {
	if err := os.MkdirAll(s.Data, 0o700); err != nil {
		return err
	}
	stopTraces, err := traces(ctx, s.OTLPEndpoint)
	if err != nil {
		return err
	}
	s.onStop(func() error { within(stopTimeout, stopTraces); return nil })
	if s.nats, err = s.startNATS(s.log); err != nil {
		return err
	}
	if s.nats != nil {
		s.onStop(func() error { s.nats.Close(); return nil })
	}
	s.connections = newConnections(s.Connections, s.proxies, s.metrics)
	if s.http, err = listen(s.Listen, s.tls, s.ReadTimeout, s.connections, s.log); err != nil {
		return err
	}
	s.onStop(func() error { _ = s.http.Close(); return nil }) // run has told why it ended
	if err := s.listenExtAuthz(); err != nil {
		return err
	}
	if err := s.listenNATS(); err != nil {
		return err
	}
	s.onStop(serveProfiles(s.PprofListen, s.log)) // of a start too, which may take minutes
	return nil
}

func (s *service) openLedger(ctx context.Context) error {
	o := eventstore.Options{Node: s.Node, Replicas: s.Replicas, UsesMaxAge: s.UsesMaxAge, UsesMaxBytes: s.UsesMaxBytes, Logger: s.log, Metrics: s.metrics}
	nc, ledger, err := s.connect(ctx, s.nats, o)
	if err != nil {
		return err
	}
	s.onStop(func() error { nc.Close(); return nil })
	s.ledger = ledger
	return nil
}

// openReadModel also begins the tasks that keep it up to date and watch what it stands on.
func (s *service) openReadModel(ctx context.Context) (err error) {
	s.store, err = projections.Open(filepath.Join(s.Data, "readmodel"), projections.Options{CacheBytes: s.CacheBytes, Logger: s.log, Metrics: s.metrics})
	if err != nil {
		return err
	}
	s.onStop(s.store.Close)
	background, stopBackground := context.WithCancel(context.WithoutCancel(ctx))
	s.tasks, s.background = errgroup.WithContext(background)
	s.onStop(func() error { stopBackground(); _ = s.tasks.Wait(); return nil }) // run has told which one failed
	s.run(func(ctx context.Context) error { return s.store.Run(ctx, s.ledger) })
	if s.nats == nil {
		s.run(func(ctx context.Context) error { logSync(ctx, s.NATSMonitors, s.log); return nil })
	}
	disk := &diskGuard{s.Data, s.MinFree, s.ledger, s.log}
	s.metrics.MustRegister(disk.metrics()...)
	disk.check(ctx)
	s.run(disk.watch)
	return nil
}

// run begins a task.
func (s *service) run(task func(context.Context) error) {
	s.tasks.Go(func() error { return task(s.background) })
}

// keepFiles makes the keyring and the root key at the first start.
func (s *service) keepFiles(ctx context.Context) error {
	first := commands.New(s.ledger, commands.Options{Logger: s.log})
	ring, err := ensureKeyring(ctx, first, s.keyringFile())
	if err != nil {
		return err
	}
	if s.madeRoot, err = ensureRootKey(ctx, first, s.rootKeyFile()); err != nil {
		return fmt.Errorf("make the root key: %w", err)
	}
	if s.tokens, err = token.NewIssuer(ring.Derive(keyring.Tokens), ring.Derive(keyring.Sessions), s.TokenIssuer); err != nil {
		return err
	}
	o := commands.Options{Logger: s.log, Index: s.store, Keys: keyIndex{s.store}, Keyspaces: s.store, People: s.store, Directories: s.store, Plans: s.store, Quotas: s.store, Sinks: s.store, SinkHost: s.outbound.Objection, SinkKey: ring.Derive(keyring.Sinks),
		DataKeys: s.ledger, Tokens: s.tokens, Sealing: ring.Derive(keyring.DataKeys), ImportIDs: ring.Derive(keyring.ImportIDs)}
	o.LogIns, o.LogInKey, o.Passwords = s.store, ring.Derive(keyring.LogIns), password.NewPool()
	s.metrics.MustRegister(o.Passwords.Metrics()...)
	s.openSSO(ring, &o)
	s.openTrail(ring, &o)
	s.commands = commands.New(s.ledger, o)
	return nil
}

// answer lets requests in when the read model is up to date.
func (s *service) answer(ctx context.Context) error {
	if err := s.catchUp(ctx); err != nil {
		return err
	}
	s.verification.Tokens, s.verification.Logger, s.verification.Metrics = s.tokens, s.log, s.metrics
	verifier := verify.New(s.store, s.ledger, s.verification)
	s.onStop(func() error { within(stopTimeout, verifier.Close); return nil })
	s.run(verifier.Run)
	s.run(func(ctx context.Context) error { s.commands.ExpireKeys(ctx, s.store); return nil })
	s.run(func(ctx context.Context) error { s.commands.WriteNotices(ctx, keyIndex{s.store}); return nil })
	s.run(func(ctx context.Context) error { s.commands.ReleasePlaces(ctx); return nil })
	s.run(func(ctx context.Context) error { s.commands.SweepDataKeys(ctx); return nil })
	s.run(func(ctx context.Context) error { s.commands.WriteSums(ctx); return nil })
	s.run(func(ctx context.Context) error { s.commands.WriteLogIns(ctx); return nil })
	s.trail = eventstore.NewTrail(s.ledger, s.store)
	s.forwarders = s.forward()
	s.reactions = reactions.New(reactions.Options{Ledger: s.ledger, Store: s.store, Commands: s.commands, Node: s.Node, Alone: s.nats != nil, Logger: s.log, Metrics: s.metrics})
	s.run(s.reactions.Run)
	handler := api.New(api.Options{Commands: s.commands, Store: s.store, Ledger: s.ledger, Trail: s.trail, Forwarders: s.forwarders, Reactions: s.reactions, Verifier: verifier, Tokens: s.tokens, Merkle: s.merkle, Signer: s.signer, GitHubKeys: s.github, SSO: s.party, Logger: s.log, AccessLog: s.accessLogger(s.errs), Registry: s.metrics,
		TrustedProxies: s.proxies, Stopping: ctx, Limits: s.Limits, Tracing: s.OTLPEndpoint != "", Version: programVersion()})
	s.http.setHandler(handler)
	s.serveExtAuthz(handler)
	s.serveNATS(verifier)
	s.greet()
	return nil
}

// within runs a step of stopping, with a deadline of its own.
func within(d time.Duration, step func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	_ = step(ctx) // it has logged what an operator should know
}
