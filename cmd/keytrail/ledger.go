package main

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/internal/backoff"
)

// startNATS starts the embedded server, nil if an external one is used.
func (c *Config) startNATS(log *slog.Logger) (*eventstore.Server, error) {
	if c.NATS.URL != "" {
		return nil, nil
	}
	if err := c.isRestored(); err != nil {
		return nil, err
	}
	return eventstore.StartServer(filepath.Join(c.Data, "ledger"), log)
}

// connect connects and opens the ledger. It waits for an external server that is not there
// yet: the two may be started in any order.
func (c *Config) connect(ctx context.Context, server *eventstore.Server, o eventstore.Options) (nc *nats.Conn, l *eventstore.Ledger, err error) {
	dial := func() (*nats.Conn, error) { return eventstore.Connect(c.NATS, o.Logger) }
	if server != nil {
		dial = server.Connect
	}
	for pause := time.Second; ; pause = min(2*pause, 10*time.Second) {
		if nc, err = dial(); err == nil {
			l, err = eventstore.Open(ctx, nc, o)
			if err == nil {
				if server != nil {
					server.StageInMemory()
				}
				return nc, l, nil
			}
			nc.Close()
		}
		if server != nil || !eventstore.Away(err) || ctx.Err() != nil {
			return nil, nil, fmt.Errorf("open the ledger: %w", err)
		}
		o.Logger.WarnContext(ctx, "the NATS server is not there yet; will try again", "err", err)
		if err := backoff.Sleep(ctx, pause); err != nil {
			return nil, nil, err
		}
	}
}
