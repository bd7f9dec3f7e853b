package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/eventstore"
)

// errOffline marks what kept an offline command from its work.
var errOffline = errors.New("not done; it is safe to repeat")

// offline is a command that changes the ledger without the service: with the embedded one
// it takes the lock on the data directory.
func offline(use, short, long string, f func(context.Context, *Config, *commands.Handler, io.Writer) error) *cobra.Command {
	c := &Config{LogFormat: "text", LogLevel: "warn"}
	cmd := &cobra.Command{Use: use, Short: short, Long: long, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		if err := environment(cmd, nil); err != nil {
			return err
		}
		err := c.onExisting(cmd.Context(), cmd.ErrOrStderr(), func(l *eventstore.Ledger) error {
			return f(cmd.Context(), c, commands.New(l, commands.Options{}), cmd.OutOrStdout())
		})
		if err != nil {
			err = fmt.Errorf("%w: %w", errOffline, err)
		}
		return err
	}}
	c.ledgerFlags(cmd.Flags())
	return cmd
}

// onExisting opens the ledger as it is for f.
func (c *Config) onExisting(ctx context.Context, errs io.Writer, f func(*eventstore.Ledger) error) error {
	log, err := c.logger(errs)
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(c.Data, "ledger")); err != nil && c.NATS.URL == "" {
		return fmt.Errorf("there is no ledger in %s: name the service's --data, or its --nats-url: %w", c.Data, err)
	}
	server, err := c.startNATS(log)
	if err != nil {
		return err
	}
	if server != nil {
		defer server.Close()
	}
	nc, ledger, err := c.connect(ctx, server, eventstore.Options{Existing: true, Replicas: c.Replicas, Logger: log})
	if err != nil {
		return err
	}
	defer nc.Close()
	return f(ledger)
}
