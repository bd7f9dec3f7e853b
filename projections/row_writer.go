package projections

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"

	badger "github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/pb"
	sst "github.com/dgraph-io/badger/v4/table" // the files, "sorted string tables"
	"github.com/dgraph-io/badger/v4/y"
	"github.com/dgraph-io/ristretto/v2/z"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"github.com/keytrail/keytrail/internal/dirsync"
)

// A rowWriter writes rows, in the order of their keys, as the files of a new Badger's lowest
// level. Badger's StreamWriter does the same and takes three times as long, for it passes each row
// on as a protocol buffer and copies it four times.
type rowWriter struct {
	options badger.Options
	prefix  []byte // of the table's rows
	key     []byte // of a row, with the table's prefix
	last    []byte // the key before
	full    []byte // the key as Badger has it, with a version
	file    *sst.Builder
	files   uint64 // that were begun
	memory  *z.AllocatorPool
	writing errgroup.Group // one file, while the next is filled
}

// rowFileSize is how large the files are. In memory one takes twice that, and there are two.
const rowFileSize = 16 << 20

// newRowWriter makes a Badger without rows in the directory of the options.
func newRowWriter(o badger.Options) (*rowWriter, error) {
	db, err := badger.Open(o)
	if err != nil {
		return nil, err
	}
	w := &rowWriter{options: o, memory: z.NewAllocatorPool(2)}
	w.writing.SetLimit(1)
	w.begin()
	return w, db.Close()
}

func (w *rowWriter) begin() {
	w.files++
	o := w.options
	w.file = sst.NewTableBuilder(sst.Options{
		TableSize: rowFileSize, BlockSize: o.BlockSize, BloomFalsePositive: o.BloomFalsePositive,
		ChkMode: o.ChecksumVerificationMode, Compression: o.Compression, AllocPool: w.memory,
	})
}

// firstVersion is what Badger ends the key of a row's first version with.
var firstVersion = binary.BigEndian.AppendUint64(nil, math.MaxUint64-1)

func (w *rowWriter) set(row, value []byte) error {
	w.last, w.key = w.key, append(append(w.last[:0], w.prefix...), row...)
	if bytes.Compare(w.key, w.last) <= 0 {
		return fmt.Errorf("%w: a row of the table %x does not come after the one before", errUnappliable, w.prefix)
	}
	w.full = append(append(w.full[:0], w.key...), firstVersion...)
	if w.file.ReachedCapacity() {
		w.end()
		w.begin()
	}
	w.file.Add(w.full, y.ValueStruct{Value: value}, 0)
	return nil
}

// end puts the file on the disk, while the next one is filled.
func (w *rowWriter) end() {
	file, name := w.file, sst.NewFilename(w.files, w.options.Dir)
	w.writing.Go(func() error {
		defer file.Close()
		t, err := sst.CreateTable(name, file)
		if err != nil {
			return err
		}
		return t.Close(-1)
	})
}

// copy writes all rows of a transaction whose keys have a prefix.
func (w *rowWriter) copy(tx *badger.Txn, prefix []byte) error {
	w.prefix = nil
	it := tx.NewIterator(badger.IteratorOptions{Prefix: prefix, PrefetchValues: true, PrefetchSize: 100})
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		if err := it.Item().Value(func(v []byte) error { return w.set(it.Item().Key(), v) }); err != nil {
			return err
		}
	}
	return nil
}

// close ends the last file and, unless there was an error before, lets the files count.
func (w *rowWriter) close(err error) error {
	defer w.memory.Release()
	if !w.file.Empty() {
		w.end()
	} else {
		w.file.Close()
		w.files--
	}
	if err = errors.Join(err, w.writing.Wait()); err != nil {
		return err
	}
	return w.list()
}

// list enters the files into Badger's manifest: a log of changes, each with its length and its
// checksum before it.
func (w *rowWriter) list() error {
	var files pb.ManifestChangeSet
	for id := range w.files {
		files.Changes = append(files.Changes, &pb.ManifestChange{Op: pb.ManifestChange_CREATE, Id: id + 1, Level: uint32(w.options.MaxLevels - 1)})
	}
	change, err := proto.Marshal(&files)
	if err != nil {
		return err
	}
	head := binary.BigEndian.AppendUint32(nil, uint32(len(change)))
	head = binary.BigEndian.AppendUint32(head, crc32.Checksum(change, crc32.MakeTable(crc32.Castagnoli)))
	f, err := os.OpenFile(filepath.Join(w.options.Dir, badger.ManifestFilename), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(append(head, change...))
	return errors.Join(err, f.Sync(), f.Close(), dirsync.Sync(w.options.Dir))
}
