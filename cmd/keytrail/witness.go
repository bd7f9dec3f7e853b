package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/keytrail/keytrail/audit/witness"
	"github.com/keytrail/keytrail/internal/filelock"
)

// A witnessConfig is the settings of a witness.
type witnessConfig struct {
	Config  // listening, TLS and logging
	name    string
	keyFile string
	state   string
	logs    []string
}

func witnessCommand() *cobra.Command {
	c := &witnessConfig{}
	cmd := &cobra.Command{Use: "witness", Short: "Run a witness, which signs that a log shows one history", Args: cobra.NoArgs,
		Long: `Run a witness (C2SP tlog-witness): it signs the checkpoints of logs that it knows, each if it
goes on from the last one that it signed. It belongs on another machine than the log, in the
hands of other people. Its keys are made at the first start, and its verifier keys printed at
each: they go into the log's --witness-policy, with the witness's address, and into
auditors' policies.

--state keeps the last checkpoint of each log. It must not be set back, and is not to be
restored from a back-up: make a new witness instead.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.run(cmd) }}
	f := cmd.Flags()
	f.StringVar(&c.Listen, "listen", "127.0.0.1:8081", "host and port to listen on")
	f.StringVar(&c.keyFile, "key-file", "witness.key", "file with the witness's keys; made if neither it nor --state is there")
	f.StringVar(&c.state, "state", "witness-state", "directory for what was signed last")
	f.StringVar(&c.name, "name", "", "the witness's name in its keys, like witness.example.com/1; for the first start")
	f.StringArrayVar(&c.logs, "log", nil, "a verifier key of a log; for each log and key once")
	f.StringVar(&c.TLSCert, "tls-cert", "", "file with the certificate chain to serve HTTPS with; read again when it changes")
	f.StringVar(&c.TLSKey, "tls-key", "", "file with the certificate's key")
	f.BoolVar(&c.PlainHTTP, "plain-http", false, "serve plain HTTP on an address that other machines reach, behind a proxy that speaks TLS")
	f.StringVar(&c.LogFormat, "log-format", "text", "text or json")
	f.StringVar(&c.LogLevel, "log-level", "info", "debug, info, warn or error")
	_ = cmd.MarkFlagRequired("log")
	return cmd
}

func (c *witnessConfig) run(cmd *cobra.Command) error {
	log, err := c.logger(cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	secure, err := c.tlsConfig(log)
	if err != nil {
		return err
	}
	keys, err := c.keys()
	if err != nil {
		return err
	}
	lock, err := c.lockState()
	if err != nil {
		return err
	}
	defer lock.Close()
	w, err := witness.New(keys, c.state, c.logs)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return err
	}
	for _, k := range keys.VerifierKeys {
		fmt.Fprintln(cmd.OutOrStdout(), k)
	}
	server := &http.Server{Handler: w.Handler(log), TLSConfig: secure, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		// A request has 128 KiB at most, and what takes longer is an attack or a dead connection.
		ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	log.InfoContext(cmd.Context(), "witness listens", "address", l.Addr().String(), "logs", len(c.logs), "tls", secure != nil)
	return serveUntil(cmd.Context(), server, l)
}

// serveUntil serves until ctx ends, and answers what is in flight.
func serveUntil(ctx context.Context, server *http.Server, l net.Listener) error {
	ended := make(chan error, 1)
	go func() {
		if server.TLSConfig != nil {
			ended <- server.ServeTLS(l, "", "")
			return
		}
		ended <- server.Serve(l)
	}()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	return server.Shutdown(grace)
}

// keys are made at the first start. Keys whose state is gone would sign another history: they are
// refused.
func (c *witnessConfig) keys() (witness.Keys, error) {
	_, err := os.Stat(c.keyFile)
	_, noState := os.Stat(c.state)
	switch {
	case errors.Is(err, os.ErrNotExist):
		if err := c.makeKeys(); err != nil {
			return witness.Keys{}, err
		}
	case errors.Is(noState, os.ErrNotExist):
		return witness.Keys{}, fmt.Errorf("%s has a witness's keys, and its state %s is gone: it could sign another history; make a new witness", c.keyFile, c.state)
	}
	return witness.ReadKeys(c.keyFile)
}

// makeKeys makes the state before the keys, so that there are no keys without it.
func (c *witnessConfig) makeKeys() error {
	if c.name == "" {
		return fmt.Errorf("there is no %s: the first start makes the witness's keys, and needs its --name, like witness.example.com/1", c.keyFile)
	}
	if err := os.MkdirAll(c.state, 0o700); err != nil {
		return err
	}
	return witness.CreateKeys(c.keyFile, c.name)
}

// lockState keeps a second process from the state.
func (c *witnessConfig) lockState() (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(c.state, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err == nil {
		err = filelock.Lock(f)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.state, err)
	}
	return f, nil
}
