package projections

import (
	"bufio"
	"bytes"
	"container/heap"
	"encoding/binary"
	"errors"
	"io"
	"os"
)

// A rowSpill is a rowList that sorts more rows than are to be in memory: what is too much goes to
// sorted files, which are merged at the end.
type rowSpill struct {
	dir   string
	list  rowList
	files []*os.File
}

// maxSpillMemory is how many bytes of rows are in memory; tests lower it.
var maxSpillMemory = 64 << 20

func (s *rowSpill) add(value []byte, kind byte, parts ...[]byte) error {
	s.list.add(value, kind, parts...)
	if len(s.list.data) < maxSpillMemory {
		return nil
	}
	return s.spill()
}

// spill empties the list into a file. It is removed at once, and lasts as long as it is open;
// where a system keeps open files, the next start removes it.
func (s *rowSpill) spill() error {
	f, err := os.CreateTemp(s.dir, "rows-*")
	if err != nil {
		return err
	}
	_ = os.Remove(f.Name())
	s.files = append(s.files, f)
	s.list.sort()
	w := bufio.NewWriterSize(f, 1<<20)
	var lengths []byte
	for _, r := range s.list.rows {
		lengths = binary.AppendUvarint(binary.AppendUvarint(lengths[:0], uint64(r.key)), uint64(r.value))
		_, _ = w.Write(lengths) // Flush has the error
		_, _ = w.Write(s.list.data[r.at : r.at+int(r.key+r.value)])
	}
	s.list.data, s.list.rows = s.list.data[:0], s.list.rows[:0]
	return w.Flush()
}

// sort gives what writes all rows in the order of their keys.
func (s *rowSpill) sort() func(*rowWriter) error {
	s.list.sort()
	return func(w *rowWriter) error {
		if len(s.files) == 0 {
			return s.list.write(w)
		}
		return errors.Join(s.merge(w), s.close())
	}
}

func (s *rowSpill) close() (err error) {
	for _, f := range s.files {
		err = errors.Join(err, f.Close())
	}
	s.files = nil
	return err
}

func (s *rowSpill) merge(w *rowWriter) error {
	if err := s.spill(); err != nil {
		return err
	}
	var all spilledRuns
	for _, f := range s.files {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		r := &spilledRun{in: bufio.NewReaderSize(f, 64<<10)}
		if err := r.next(); err == nil {
			all = append(all, r)
		} else if !errors.Is(err, io.EOF) {
			return err
		}
	}
	heap.Init(&all)
	for len(all) > 0 {
		first := all[0]
		if err := w.set(first.key, first.value); err != nil {
			return err
		}
		switch err := first.next(); {
		case errors.Is(err, io.EOF):
			heap.Pop(&all)
		case err != nil:
			return err
		default:
			heap.Fix(&all, 0)
		}
	}
	return nil
}

// A spilledRun is a file of sorted rows, at one of them.
type spilledRun struct {
	in         *bufio.Reader
	row        []byte
	key, value []byte // of row
}

// next is io.EOF behind the last row.
func (r *spilledRun) next() error {
	key, err := binary.ReadUvarint(r.in)
	if err != nil {
		return err
	}
	value, err := binary.ReadUvarint(r.in)
	if err != nil {
		return noEOF(err)
	}
	r.row = append(r.row[:0], make([]byte, key+value)...)
	r.key, r.value = r.row[:key], r.row[key:]
	_, err = io.ReadFull(r.in, r.row)
	return noEOF(err)
}

// noEOF is err within a row.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// spilledRuns are a heap by their keys.
type spilledRuns []*spilledRun

func (s spilledRuns) Len() int           { return len(s) }
func (s spilledRuns) Less(i, j int) bool { return bytes.Compare(s[i].key, s[j].key) < 0 }
func (s spilledRuns) Swap(i, j int)      { s[i], s[j] = s[j], s[i] }
func (s *spilledRuns) Push(r any)        { *s = append(*s, r.(*spilledRun)) }
func (s *spilledRuns) Pop() any {
	last := len(*s) - 1
	r := (*s)[last]
	*s = (*s)[:last]
	return r
}
