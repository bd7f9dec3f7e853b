package main

import (
	"context"
	"log/slog"
	"net/url"

	"github.com/keytrail/keytrail/eventstore"
)

// logSync asks the monitoring of each external NATS server whether a power cut can take
// what it has acknowledged, and logs it. It is a setting of the servers' that their clients
// do not see.
func logSync(ctx context.Context, monitors []string, log *slog.Logger) {
	const advice = "set sync_interval: always in the NATS servers' configuration"
	if len(monitors) == 0 {
		log.WarnContext(ctx, "it is not known whether the NATS servers sync each message to disk: give --nats-monitor-url; "+advice)
	}
	for _, m := range monitors {
		sync, err := eventstore.AskSync(ctx, m)
		switch {
		case err != nil:
			log.WarnContext(ctx, "the NATS server's monitoring cannot be asked whether it syncs each message to disk; "+advice, "monitor", redacted(m), "err", err)
		case sync.Always:
			log.InfoContext(ctx, "the NATS server syncs each message to disk before it acknowledges it", "server", sync.Server)
		default:
			log.ErrorContext(ctx, "the NATS server acknowledges before it syncs: a power cut takes what was acknowledged; "+advice, "server", sync.Server, "sync_interval", sync.Interval)
		}
	}
}

// redacted is an address without a password that may be in it.
func redacted(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "not an address"
	}
	return u.Redacted()
}
