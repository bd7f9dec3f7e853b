package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	_ "net/http/pprof" // served only on --pprof-listen
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/keytrail/keytrail/api"
	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/internal/keyring"
	"github.com/keytrail/keytrail/projections"
	"github.com/keytrail/keytrail/verify"
)

// errServe marks what kept the service from starting or ended it.
var errServe = errors.New("not serving")

func serveCommand() *cobra.Command {
	var c Config
	cmd := &cobra.Command{
		Use: "serve", Short: "Run the service", Args: cobra.NoArgs,
		Long: "Run the service. Each flag has an environment variable: --nats-url is KEYTRAIL_NATS_URL.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := environment(cmd, os.Environ())
			if err == nil {
				err = serve(cmd.Context(), c, cmd.ErrOrStderr())
				if errors.Is(err, context.Canceled) && cmd.Context().Err() != nil {
					return nil // asked to stop before it was ready
				}
				if err != nil {
					err = fmt.Errorf("%w: %w", errServe, err)
				}
			}
			if err != nil && c.LogFormat == "json" {
				slog.New(slog.NewJSONHandler(cmd.ErrOrStderr(), nil)).ErrorContext(cmd.Context(), "not serving", "err", err)
				err = &logged{err}
			}
			return err
		},
	}
	c.flags(cmd.Flags())
	return cmd
}

// logged is an error that has been told in the log.
type logged struct{ error }

func (e *logged) Unwrap() error { return e.error }

// stopTimeout bounds each step of stopping.
const stopTimeout = 15 * time.Second

// serve builds the service in the order in which its parts stand on each other, runs it
// until ctx ends, and takes it down in reverse, by its defers.
func serve(ctx context.Context, c Config, errs io.Writer) (err error) {
	spareThread()
	p, err := c.parse(errs)
	if err != nil {
		return err
	}
	log := p.log
	slog.SetDefault(log) // what libraries say through package log becomes a line of ours
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return err
	}
	stopTraces, err := traces(ctx, c.OTLPEndpoint)
	if err != nil {
		return err
	}
	defer within(stopTimeout, stopTraces)

	// 1. The front, which says "starting" at first, behind the lock on the directory.
	server, err := c.startServer(log)
	if err != nil {
		return err
	}
	if server != nil {
		defer server.Close()
	}
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), buildInfo())
	front, err := listen(c.Listen, p.secure, c.ReadTimeout, newConnections(c.Connections, p.proxies, metrics), log)
	if err != nil {
		return err
	}
	defer front.Close()

	// 2. The ledger.
	nc, ledger, err := c.ledger(ctx, server, log, metrics)
	if err != nil {
		return err
	}
	defer nc.Close()

	// 3. The read model. It outlives the requests, which wait for it.
	store, err := projections.Open(filepath.Join(c.Data, "readmodel"), projections.Options{CacheBytes: c.CacheBytes, Logger: log, Metrics: metrics})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	background, stopBackground := context.WithCancel(context.WithoutCancel(ctx))
	tasks, background := errgroup.WithContext(background)
	defer func() { stopBackground(); _ = tasks.Wait() }()
	tasks.Go(func() error { return store.Run(background, ledger) })
	if server == nil {
		tasks.Go(func() error { tellSync(background, c.NATSMonitors, log); return nil })
	}
	disk := &space{c.Data, c.MinFree, ledger, log}
	metrics.MustRegister(disk.metrics()...)
	disk.look(ctx)
	tasks.Go(func() error { return disk.watch(background) })

	// 4. The files of the first start, kept before anything depends on them.
	ring, created, err := c.firstFiles(ctx, commands.New(ledger, commands.Options{Logger: log}))
	if err != nil {
		return err
	}
	handler := commands.New(ledger, commands.Options{Logger: log, Index: store, ImportIDs: ring.Derive(keyring.ImportIDs)})
	if err := catchUp(ctx, store, ledger, background); err != nil {
		return err
	}

	// 5. What answers.
	p.verification.Logger, p.verification.Metrics = log, metrics
	verifier := verify.New(store, ledger, p.verification)
	tasks.Go(func() error { return verifier.Run(background) })
	tasks.Go(func() error { handler.ExpireKeys(background, store); return nil })
	defer within(stopTimeout, verifier.Close)
	front.open(api.New(api.Options{Commands: handler, Store: store, Ledger: ledger, Verifier: verifier, Logger: log, AccessLog: c.accessLogger(errs), Registry: metrics,
		TrustedProxies: p.proxies, Stopping: ctx, Limits: c.Limits, Tracing: c.OTLPEndpoint != "", Version: programVersion()}))
	c.greet(errs, log, front.url, c.rootKeyFile(), created)
	defer serveProfiles(c.PprofListen, log)()
	return front.stay(ctx, background)
}

// firstFiles sees to the keyring and the root key. created tells that the latter was just made.
func (c *Config) firstFiles(ctx context.Context, h *commands.Handler) (ring *keyring.Keyring, created bool, err error) {
	if ring, err = ensureKeyring(ctx, h, c.keyringFile()); err != nil {
		return nil, false, err
	}
	if created, err = ensureRootKey(ctx, h, c.rootKeyFile()); err != nil {
		return nil, false, fmt.Errorf("make the root key: %w", err)
	}
	return ring, created, nil
}

// spareThread lets one thread more run Go code than there are processors. Whoever comes
// back from an fsync, and every waiting verification with it, would otherwise queue for
// one behind requests that just arrived: the kernel's scheduler lets it go first.
func spareThread() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	}
}

// within runs a step of stopping, with a deadline of its own.
func within(d time.Duration, step func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	_ = step(ctx) // it has logged what an operator should know
}

// startServer starts the embedded server, nil if an external one is used.
func (c *Config) startServer(log *slog.Logger) (*eventstore.Server, error) {
	if c.NATS.URL != "" {
		return nil, nil
	}
	return eventstore.StartServer(filepath.Join(c.Data, "ledger"), log)
}

// ledger connects and opens the ledger. It waits for an external server that is not there
// yet: whatever starts both may start them in any order.
func (c *Config) ledger(ctx context.Context, server *eventstore.Server, log *slog.Logger, metrics prometheus.Registerer) (nc *nats.Conn, l *eventstore.Ledger, err error) {
	connect := func() (*nats.Conn, error) { return eventstore.Connect(c.NATS, log) }
	if server != nil {
		connect = server.Connect
	}
	for pause := time.Second; ; pause = min(2*pause, 10*time.Second) {
		if nc, err = connect(); err == nil {
			l, err = eventstore.Open(ctx, nc, eventstore.Options{Existing: c.existing, Replicas: c.Replicas, UsesMaxAge: c.UsesMaxAge, UsesMaxBytes: c.UsesMaxBytes, Logger: log, Metrics: metrics})
			if err == nil {
				return nc, l, nil
			}
			nc.Close()
		}
		if server != nil || !eventstore.Away(err) || ctx.Err() != nil {
			return nil, nil, fmt.Errorf("open the ledger: %w", err)
		}
		log.WarnContext(ctx, "the NATS server is not there yet; will try again", "err", err)
		select {
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// catchUp waits until the read model has what was acknowledged before the start: before
// that it would refuse keys that exist, and forget uses that count against rate limits.
func catchUp(ctx context.Context, s *projections.Store, l *eventstore.Ledger, background context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	context.AfterFunc(background, cancel)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	var err error
	for !l.CaughtUp() && err == nil {
		select {
		case <-ctx.Done():
			err = ctx.Err()
		case <-tick.C:
			err = s.Halted()
		}
	}
	if err == nil {
		err = errors.Join(s.WaitFor(ctx, l.LastEnd(eventstore.Events)), s.WaitForUses(ctx, l.LastEnd(eventstore.Uses)))
	}
	if err != nil {
		return fmt.Errorf("bring the read model up to date: %w", errors.Join(err, context.Cause(background)))
	}
	return nil
}

// serveProfiles serves profiles on address, if there is one, until what it gives is called.
func serveProfiles(address string, log *slog.Logger) (stop func() error) {
	if address == "" {
		return func() error { return nil }
	}
	profiles := &http.Server{Addr: address, Handler: http.DefaultServeMux, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		if err := profiles.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
			log.Error("no profiles are served", "address", address, "err", err)
		}
	}()
	return profiles.Close
}

// greet tells who started the service what to do next: to a person, or as lines of the log.
func (c *Config) greet(w io.Writer, log *slog.Logger, url, rootFile string, created bool) {
	if c.LogFormat == "json" {
		log.Info("ready", "url", url, "root_key_file", rootFile, "root_key_created", created)
		return
	}
	text := fmt.Sprintf("keytrail: ready on %s\n", url)
	if created {
		text = fmt.Sprintf("keytrail: the root key is in %s; whoever reads it can do everything\n", rootFile) + text
	}
	if _, err := os.Stat(rootFile); err == nil { // else it was moved to a safer place, as it should be
		text += fmt.Sprintf("  try: keytrail principal --url %s --key-file %s\n", url, rootFile)
	}
	fmt.Fprint(w, text) // at once: a reader that waits for it sees it whole
}
