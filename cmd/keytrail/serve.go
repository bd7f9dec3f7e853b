package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"time"

	"github.com/spf13/cobra"
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
// until ctx ends, and takes it down in reverse.
func serve(ctx context.Context, c Config, errs io.Writer) (err error) {
	spareThread()
	s, err := newService(c, errs)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	limitHeap(s.log)
	for _, step := range []func(context.Context) error{
		s.listen,        // 1. It says "starting" at first, behind the lock on the data directory.
		s.openLedger,    // 2.
		s.openReadModel, // 3. It outlives the requests, which wait for it.
		s.keepFiles,     // 4. Those of the first start are kept before anything depends on them.
		s.signTrail,     // 5.
		s.answer,        // 6.
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return s.http.run(ctx, s.background)
}

// spareThread raises GOMAXPROCS by one. A goroutine that returns from an fsync, and with it
// every verification that waits for that, would otherwise queue for a processor behind
// requests that just arrived: with a thread to spare the kernel's scheduler runs it first.
func spareThread() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	}
}

// greet tells the operator what to do next: in plain text, or as a line of the JSON log.
func (s *service) greet() {
	url, rootFile := s.http.url, s.rootKeyFile()
	if s.LogFormat == "json" {
		s.log.Info("ready", "url", url, "root_key_file", rootFile, "root_key_created", s.madeRoot)
		return
	}
	text := fmt.Sprintf("keytrail: ready on %s\n", url)
	if s.madeRoot {
		text = fmt.Sprintf("keytrail: the root key is in %s; whoever reads it can do everything\n", rootFile) + text
	}
	if _, err := os.Stat(rootFile); err == nil { // else it was moved to a safer place, as it should be
		text += fmt.Sprintf("  try: keytrail principal --url %s --key-file %s\n", url, rootFile)
	}
	fmt.Fprint(s.errs, text) // at once: a reader that waits for it sees it whole
}
