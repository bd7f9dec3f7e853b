package projections

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
)

// A rowList is rows, one after another in memory without pointers, which cost the garbage
// collector nothing.
type rowList struct {
	data []byte
	rows []listedRow
}

// A listedRow is where a row lies in the data of its list.
type listedRow struct {
	part       uint64 // of its key, while they are sorted
	at         int
	key, value uint32 // their lengths
}

// add appends a row: its kind, the parts of its key, and its value.
func (l *rowList) add(value []byte, kind byte, parts ...[]byte) {
	at := len(l.data)
	l.data = append(l.data, kind)
	for _, p := range parts {
		l.data = append(l.data, p...)
	}
	key := len(l.data) - at
	l.data = append(l.data, value...)
	l.rows = append(l.rows, listedRow{at: at, key: uint32(key), value: uint32(len(value))})
}

// grow makes room for so many times what is in the list.
func (l *rowList) grow(times float64) {
	l.data = slices.Grow(l.data, int(times*float64(len(l.data))))
	l.rows = slices.Grow(l.rows, int(times*float64(len(l.rows))))
}

func (l *rowList) key(r listedRow) []byte { return l.data[r.at : r.at+int(r.key)] }

func (l *rowList) value(r listedRow) []byte {
	return l.data[r.at+int(r.key) : r.at+int(r.key+r.value)]
}

// sort sorts the rows by their keys.
func (l *rowList) sort() { l.sortFrom(l.rows, 0) }

// sortFrom sorts rows whose keys are the same up to from: by the next eight bytes, in a register,
// and then those that are the same there by the eight after them. A radix sort reads each
// part of a key once; comparing whole keys would read two places in memory each time.
func (l *rowList) sortFrom(rows []listedRow, from int) {
	const few, deep = 16, 1024
	if len(rows) <= few || from >= deep {
		slices.SortFunc(rows, func(a, b listedRow) int { return bytes.Compare(l.key(a), l.key(b)) })
		return
	}
	for i := range rows {
		rows[i].part = eightBytes(l.key(rows[i]), from)
	}
	slices.SortFunc(rows, func(a, b listedRow) int { return cmp.Compare(a.part, b.part) })
	for len(rows) > 0 {
		n := 1
		for n < len(rows) && rows[n].part == rows[0].part {
			n++
		}
		if n > 1 {
			l.sortFrom(rows[:n], from+8)
		}
		rows = rows[n:]
	}
}

// eightBytes are those of key at an offset, and zeros where it ends.
func eightBytes(key []byte, at int) uint64 {
	if at+8 <= len(key) {
		return binary.BigEndian.Uint64(key[at:])
	}
	var b [8]byte
	copy(b[:], key[min(at, len(key)):])
	return binary.BigEndian.Uint64(b[:])
}

func (l *rowList) write(w *rowWriter) error {
	for _, r := range l.rows {
		if err := w.set(l.key(r), l.value(r)); err != nil {
			return err
		}
	}
	return nil
}
