package main

import (
	"context"
	"log/slog"
	"time"

	"golang.org/x/sys/unix"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// errStorageFull refuses what would be written. Databases that hit the end of the disk end
// badly, so this comes before.
var errStorageFull = &domain.Error{Kind: domain.Unavailable, Code: "storage_full",
	Text: "the service is short of disk space and records nothing; its operator must make room"}

// watchSpace holds the ledger while dir's file system has less than least bytes free.
func watchSpace(ctx context.Context, dir string, least uint64, l *eventstore.Ledger, log *slog.Logger) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		free, err := freeBytes(dir)
		switch full := err == nil && free < least; {
		case err != nil:
			log.WarnContext(ctx, "free disk space cannot be told", "dir", dir, "err", err)
		case full && l.Held() == nil:
			log.ErrorContext(ctx, "short of disk space: nothing is recorded until there is more", "dir", dir, "free", free, "min_free", least)
			l.Hold(errStorageFull)
		case !full && l.Held() != nil:
			log.InfoContext(ctx, "there is disk space again", "dir", dir, "free", free)
			l.Hold(nil)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func freeBytes(dir string) (uint64, error) {
	var s unix.Statfs_t
	err := unix.Statfs(dir, &s)
	return s.Bavail * uint64(s.Bsize), err
}
