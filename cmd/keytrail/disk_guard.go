package main

import (
	"context"
	"log/slog"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// A diskGuard suspends the ledger while its directory is short of space. Databases that hit
// the end of the disk end badly, so this comes before.
type diskGuard struct {
	dir     string
	minFree uint64 // bytes, of its file system
	ledger  *eventstore.Ledger
	log     *slog.Logger
}

// metrics are the free space and whether the ledger is suspended, when they are asked for.
func (g *diskGuard) metrics() []prometheus.Collector {
	return []prometheus.Collector{
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "keytrail_disk_free_bytes", Help: "Free space of the data directory's file system; NaN if it cannot be told."}, func() float64 {
			free, err := freeBytes(g.dir)
			if err != nil {
				return math.NaN()
			}
			return float64(free)
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "keytrail_ledger_suspended", Help: "1 while nothing is recorded, for lack of disk space."}, func() float64 {
			if g.ledger.Suspended() != nil {
				return 1
			}
			return 0
		}),
	}
}

// watch checks every second until ctx ends.
func (g *diskGuard) watch(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			g.check(ctx)
		}
	}
}

// check suspends the ledger, or lets it go on.
func (g *diskGuard) check(ctx context.Context) {
	free, err := freeBytes(g.dir)
	switch full := free < g.minFree; {
	case err != nil:
		g.log.WarnContext(ctx, "free disk space cannot be told", "dir", g.dir, "err", err)
	case full && g.ledger.Suspended() == nil:
		g.log.ErrorContext(ctx, "short of disk space: nothing is recorded until there is more", "dir", g.dir, "free", free, "min_free", g.minFree)
		g.ledger.Suspend(domain.ErrStorageFull)
	case !full && g.ledger.Suspended() != nil:
		g.log.InfoContext(ctx, "there is disk space again", "dir", g.dir, "free", free)
		g.ledger.Suspend(nil)
	}
}
