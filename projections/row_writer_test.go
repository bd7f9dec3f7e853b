package projections_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"testing"

	"github.com/keytrail/keytrail/projections"
)

// What was written as files is what Badger reads, row for row: with keys that begin with one
// another, with large values, and in several files.
func TestFilesOfRowsAreReadByBadger(t *testing.T) {
	var rows [][2][]byte
	for i := range 30_000 {
		key := binary.BigEndian.AppendUint32(nil, uint32(i))
		value := bytes.Repeat(key, i%250)
		rows = append(rows, [2][]byte{key, value}, [2][]byte{append(bytes.Clone(key), 0), nil}, [2][]byte{append(bytes.Clone(key), 0xff), {1}})
	}
	sum := sha256.Sum256(nil)
	rows = append(rows, [2][]byte{bytes.Repeat([]byte{0xff}, 300), bytes.Repeat(sum[:], 100_000)})
	files, read, err := projections.WriteRows(t.TempDir(), rows)
	if err != nil {
		t.Fatal(err)
	}
	if files < 2 {
		t.Errorf("%d files: too few to try more than one", files)
	}
	if len(read) != len(rows) {
		t.Fatalf("%d rows were read of %d", len(read), len(rows))
	}
	for i := range rows {
		if !bytes.Equal(read[i][0], rows[i][0]) || !bytes.Equal(read[i][1], rows[i][1]) {
			t.Fatalf("row %d is %x, wanted %x", i, read[i][0], rows[i][0])
		}
	}
}

// Rows that are not in order would not be found.
func TestRowsOutOfOrderAreRefused(t *testing.T) {
	for _, rows := range [][][2][]byte{{{{2}}, {{1}}}, {{{1}}, {{1}}}, {{{1, 0}}, {{1}}}} {
		if _, _, err := projections.WriteRows(t.TempDir(), rows); err == nil {
			t.Errorf("%x: they were taken", rows)
		}
	}
}
