package projections

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	badger "github.com/dgraph-io/badger/v4"
	"github.com/keytrail/keytrail/eventstore"
)

// A database is one Badger of an engine, in a directory whose name is a number. Of several the
// one with the highest number counts. Another is there for a moment only, when one that was
// built beside it takes its place: a rename makes that one count, whole, and a crash leaves
// the one or the other.
type database struct {
	*badger.DB
	stream  eventstore.Stream
	root    string
	number  int
	readers sync.WaitGroup // the snapshots of it
}

// unfinishedDatabase is the directory in which one is built. It never counts.
const unfinishedDatabase = "building"

// openDatabase opens the one that counts in root, or a new one, and removes all else.
func openDatabase(root string, s eventstore.Stream, log *slog.Logger) (*database, error) {
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, err
	}
	number, err := lastDatabase(root)
	if err != nil {
		return nil, err
	}
	return openNumbered(root, s, max(number, 1), log)
}

// lastDatabase is the number of the one that counts, 0 if there is none, and the only one left.
func lastDatabase(root string) (last int, err error) {
	entries, err := os.ReadDir(root)
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil {
			last = max(last, n)
		}
	}
	for _, e := range entries {
		if e.Name() != strconv.Itoa(last) {
			err = errors.Join(err, os.RemoveAll(filepath.Join(root, e.Name())))
		}
	}
	return last, err
}

func openNumbered(root string, s eventstore.Stream, number int, log *slog.Logger) (*database, error) {
	d := &database{stream: s, root: root, number: number}
	var err error
	if d.DB, err = badger.Open(badgerOptions(d.dir(), s, log)); err != nil {
		return nil, fmt.Errorf("open the read model in %s: %w", d.dir(), err)
	}
	return d, nil
}

func (d *database) dir() string { return filepath.Join(d.root, strconv.Itoa(d.number)) }

// buildingDir is an empty directory for the next one.
func (d *database) buildingDir() (string, error) {
	dir := filepath.Join(d.root, unfinishedDatabase)
	return dir, errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700))
}

// successor makes what was built, and closed, the database that counts from the next start on,
// and opens it.
func (d *database) successor(log *slog.Logger) (*database, error) {
	next := filepath.Join(d.root, strconv.Itoa(d.number+1))
	err := errors.Join(os.RemoveAll(next), os.Rename(filepath.Join(d.root, unfinishedDatabase), next))
	if err != nil {
		return nil, err
	}
	return openNumbered(d.root, d.stream, d.number+1, log)
}

// remove closes it when its last reader has gone, and deletes it.
func (d *database) remove() error {
	d.readers.Wait()
	return errors.Join(d.Close(), os.RemoveAll(d.dir()))
}
