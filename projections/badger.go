package projections

import (
	"log/slog"

	badger "github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"github.com/keytrail/keytrail/eventstore"
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
func badgerOptions(dir string, s eventstore.Stream, log *slog.Logger) badger.Options {
	return badger.DefaultOptions(dir).
		// Durability. Nothing here needs a sync of its own: rows and the position that they
		// stand for are in one transaction, and what a power cut takes is read again from
		// the ledger, which does sync.
		WithSyncWrites(false).
		// A damaged block is a row that is missing and so a key that is refused, not another
		// row. It costs less than 1 µs a block.
		WithChecksumVerificationMode(options.OnBlockRead).
		WithVerifyValueChecksum(true). // of those that do not lie in the blocks
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
		// Badger maps twice the size of a value log file, and on some systems takes it on disk;
		// a billion uses are 500 of these. keepRetention gives the space back.
		WithValueThreshold(valueThreshold(s)).WithValueLogFileSize(128 << 20).
		WithMetricsEnabled(false). // its expvar names are global
		WithLogger(badgerLog{log})
}

// valueThreshold is the size from which a value goes to the value log, where it is written once:
// copies of messages of uses. Other values lie beside their keys, up to the most that Badger allows;
// of those of the events only the row of a digest that thousands of organizations have imported is
// larger.
func valueThreshold(s eventstore.Stream) int64 {
	if s == eventstore.Uses {
		return 1 << 10
	}
	return 1 << 20
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
