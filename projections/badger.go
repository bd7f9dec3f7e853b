package projections

import (
	"context"
	"log/slog"
	"time"

	badger "github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"github.com/keytrail/keytrail/internal/backoff"
)

// memTableSize is how much Badger collects in memory before it writes a file. It bounds a
// transaction, to 15 % of it, and what a busy Badger holds: each of its memtables takes
// 1.3 times as much, and there are up to numMemtables full ones and one to write to.
const (
	memTableSize = 16 << 20
	numMemtables = 3
)

// badgerOptions are all that touch time, size or durability. There are two Badgers, one for
// each stream.
func badgerOptions(dir string, log *slog.Logger) badger.Options {
	return badger.DefaultOptions(dir).
		// Durability. Nothing here needs a sync of its own: rows and the position that they
		// stand for are in one transaction, and what a power cut takes is read again from
		// the ledger, which does sync.
		WithSyncWrites(false).
		// A damaged block is a row that is missing and so a key that is refused, not another
		// row. It costs less than 1 µs a block.
		WithChecksumVerificationMode(options.OnBlockRead).
		WithVerifyValueChecksum(false). // the values lie in the blocks
		// One version of a row counts, and each table has one writer.
		WithNumVersionsToKeep(1).WithDetectConflicts(false).
		// Memory.
		WithMemTableSize(memTableSize).WithNumMemtables(numMemtables).
		WithCompression(options.None).               // and so blocks are read where they are mapped,
		WithBlockCacheSize(0).WithIndexCacheSize(0). // and the page cache is the cache
		// Compaction begins at 4 files on level 0, and writers wait at 20: a long rebuild is
		// not stopped by a compaction, and a read looks at few files. Two compactors, the
		// least that Badger takes, leave the processor to verification.
		WithNumLevelZeroTables(4).WithNumLevelZeroTablesStall(20).WithNumCompactors(2).
		WithCompactL0OnClose(false). // a stop does not wait for it
		// Values lie beside their keys up to the most that Badger allows. Only the row of a
		// digest that thousands of organizations have imported is larger, see collectGarbage.
		// Badger maps twice the size of a value log file, and on some systems takes it on disk.
		WithValueThreshold(1 << 20).WithValueLogFileSize(64 << 20).
		WithMetricsEnabled(false). // its expvar names are global
		WithLogger(badgerLog{log})
}

// garbageEvery is how often Badger is asked to rewrite value log files that are half unused.
const garbageEvery = 10 * time.Minute

// collectGarbage gives back what large values took that are deleted: Badger does so only
// when it is asked.
func (e *engine) collectGarbage(ctx context.Context) {
	for backoff.Sleep(ctx, garbageEvery) == nil {
		now := view{engine: e}.snapshot() // keeps the Badger open
		for now.db.RunValueLogGC(0.5) == nil && ctx.Err() == nil {
		}
		now.release()
	}
}

// badgerLog passes Badger's warnings and errors on, without the values in them, which may
// be row keys and hence digests.
type badgerLog struct{ log *slog.Logger }

func (l badgerLog) Errorf(format string, args ...any) {
	l.log.Error("badger reports an error", "text", format, "err", firstError(args))
}

func (l badgerLog) Warningf(format string, args ...any) {
	l.log.Warn("badger warns", "text", format, "err", firstError(args))
}

func (badgerLog) Infof(string, ...any)  {}
func (badgerLog) Debugf(string, ...any) {}

func firstError(args []any) error {
	for _, a := range args {
		if err, ok := a.(error); ok {
			return err
		}
	}
	return nil
}
