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

// A space is a directory that must have room before the ledger goes on.
type space struct {
	dir    string
	least  uint64 // free bytes of its file system
	ledger *eventstore.Ledger
	log    *slog.Logger
}

// metrics are the free space and whether the ledger is suspended, when they are asked for.
func (s *space) metrics() []prometheus.Collector {
	return []prometheus.Collector{
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "keytrail_disk_free_bytes", Help: "Free space of the data directory's file system; NaN if it cannot be told."}, func() float64 {
			free, err := freeBytes(s.dir)
			if err != nil {
				return math.NaN()
			}
			return float64(free)
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "keytrail_ledger_suspended", Help: "1 while nothing is recorded, for lack of disk space."}, func() float64 {
			if s.ledger.Suspended() != nil {
				return 1
			}
			return 0
		}),
	}
}

// watch looks every second until ctx ends.
func (s *space) watch(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			s.look(ctx)
		}
	}
}

// look holds the ledger, or lets it go.
func (s *space) look(ctx context.Context) {
	free, err := freeBytes(s.dir)
	switch full := free < s.least; {
	case err != nil:
		s.log.WarnContext(ctx, "free disk space cannot be told", "dir", s.dir, "err", err)
	case full && s.ledger.Suspended() == nil:
		s.log.ErrorContext(ctx, "short of disk space: nothing is recorded until there is more", "dir", s.dir, "free", free, "min_free", s.least)
		s.ledger.Suspend(domain.ErrStorageFull)
	case !full && s.ledger.Suspended() != nil:
		s.log.InfoContext(ctx, "there is disk space again", "dir", s.dir, "free", free)
		s.ledger.Suspend(nil)
	}
}
