package projections

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"maps"
	"path/filepath"
	"slices"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// A keysLoader fills the table of keys. It keeps each key's row as it is after the last event,
// some 300 bytes, and makes one kind of rows from all of them after the other: so much memory as
// one kind takes, and the next, which is sorted while that one is written.
type keysLoader struct {
	keys   keyStates
	former rowSpill
	totals keyTotals
	live   liveKeys
	row    []byte // the memory of the last one
}

func (t *keysTable) loader() loader {
	return &keysLoader{keys: newKeyStates(), live: liveKeys{}, former: rowSpill{dir: filepath.Dir(t.db.Opts().Dir)}}
}

func (l *keysLoader) close() error { return l.former.close() }

func (l *keysLoader) add(b eventstore.Batch) error {
	for i := range b.Records {
		if err := l.addRecord(&b.Records[i]); err != nil {
			return err
		}
	}
	return nil
}

// addRecord does what keysTable.writeKey does, but for what follows from the key's last state.
func (l *keysLoader) addRecord(record *eventstore.Record) error {
	id, isKey := keyOf(record)
	if !isKey {
		return nil
	}
	bits := id.Bytes()
	var before KeyRow
	state, known := l.keys.find(bits)
	if known {
		if err := before.decode(id, string(state.row)); err != nil {
			return err
		}
	}
	if err := follows(before.Key, id, record); err != nil {
		return err
	}
	if known {
		if err := l.former.add(before.former(), rowFormer, bits[:], number(uint64(before.Revision))); err != nil {
			return err
		}
	}
	after := before.after(record)
	l.totals.move(before.Key, after.Key)
	l.live.move(&before.Key, &after.Key)
	l.row = after.appendTo(l.row[:0])
	l.keys.put(bits, keyState{state.introducedAfter(len(after.Secrets), record), l.row})
	return nil
}

// A section is the rows of one kind: it sorts them, and gives what writes them.
type section struct {
	kind byte
	sort func() func(*rowWriter) error
}

func (l *keysLoader) sections() []section {
	all := []section{{rowKey, l.sortKeys}, {rowFormer, l.former.sort}, {rowCredential, l.sortCredentials}, {rowKeyTotals, func() func(*rowWriter) error { return l.writeTotals }}, {rowLiveKeys, func() func(*rowWriter) error { return l.writeLive }}}
	for _, index := range keyIndexes {
		all = append(all, section{index.kind, func() func(*rowWriter) error { return l.sortIndex(index) }})
	}
	slices.SortStableFunc(all, func(a, b section) int { return cmp.Compare(a.kind, b.kind) })
	return all
}

func (l *keysLoader) write(w *rowWriter) error {
	sorted, stop := make(chan func(*rowWriter) error), make(chan struct{})
	defer close(stop)
	l.keys.places = nil // no more are looked up
	go func() {
		defer close(sorted)
		for _, s := range l.sections() {
			select {
			case sorted <- s.sort():
			case <-stop:
				return
			}
		}
	}()
	for write := range sorted {
		if err := write(w); err != nil {
			return err
		}
	}
	return nil
}

func (l *keysLoader) sortIndex(index keyIndex) func(*rowWriter) error {
	var k indexedKey
	return l.collect(func(rows *rowList, _ uint64, id [idSize]byte, s keyState) {
		k.id = id
		k.org, _, _ = k.decodeState(s.text())
		k.setTimes()
		index.add(rows, &k)
	}).write
}

// collect gives the rows that f adds for all keys, sorted. How much room they need is known
// after some: a list that grew as it is added to would leave several times its size behind.
func (l *keysLoader) collect(f func(rows *rowList, place uint64, id [idSize]byte, s keyState)) *rowList {
	const some = 1000
	rows, keys := new(rowList), 0
	l.keys.each(func(place uint64, id [idSize]byte, s keyState) {
		f(rows, place, id, s)
		if keys++; keys == some {
			rows.grow(1.05 * float64(l.keys.number) / some)
		}
	})
	rows.sort()
	return rows
}

// sortKeys sorts the rows of the keys themselves, and has no copy of them.
func (l *keysLoader) sortKeys() func(*rowWriter) error {
	places := l.collect(func(rows *rowList, place uint64, id [idSize]byte, _ keyState) { rows.add(number(place), rowKey, id[:]) })
	return func(w *rowWriter) error {
		for _, r := range places.rows {
			place, _ := cutNumber(places.value(r))
			_, s := l.keys.at(place)
			if err := w.set(places.key(r), s.row); err != nil {
				return err
			}
		}
		return nil
	}
}

// sortCredentials sorts all secrets by their digests, and those of several keys that have the
// same by when they came to it.
func (l *keysLoader) sortCredentials() func(*rowWriter) error {
	var k KeyRow
	secrets := l.collect(func(rows *rowList, place uint64, _ [idSize]byte, s keyState) {
		k.decodeState(s.text())
		for i := range k.Secrets {
			rows.add(append(number(place), byte(i)), rowCredential, k.Secrets[i].Digest[:], s.introduced[8*i:8*i+8])
		}
	})
	return func(w *rowWriter) error { return l.writeCredentials(w, secrets) }
}

func (l *keysLoader) writeCredentials(w *rowWriter, secrets *rowList) error {
	digest := func(i int) []byte { return secrets.key(secrets.rows[i])[:1+len(domain.Digest{})] }
	var list []byte
	var k KeyRow
	for i, r := range secrets.rows {
		if list = l.appendCredential(list, secrets.value(r), &k); i+1 < len(secrets.rows) && bytes.Equal(digest(i), digest(i+1)) {
			continue
		}
		if err := w.set(digest(i), list); err != nil {
			return err
		}
		list = list[:0]
	}
	return nil
}

// appendCredential appends that of a secret, whose settings are copied as the key's row has them.
func (l *keysLoader) appendCredential(list, secret []byte, k *KeyRow) []byte {
	place, number := cutNumber(secret)
	id, s := l.keys.at(place)
	org, _, settings := k.decodeState(s.text())
	at := len(list)
	list = append(appendCredentialHead(append(list, 0, 0, 0, 0), id, org, &k.Key, k.Secrets[number[0]]), settings...)
	binary.BigEndian.PutUint32(list[at:], uint32(len(list)-at-4))
	return list
}

func (l *keysLoader) writeLive(w *rowWriter) error {
	for _, org := range slices.SortedFunc(maps.Keys(l.live), func(a, b [idSize]byte) int { return bytes.Compare(a[:], b[:]) }) {
		if l.live[org] == 0 {
			continue
		}
		if err := w.set(row(rowLiveKeys, org[:]), number(uint64(l.live[org]))); err != nil {
			return err
		}
	}
	return nil
}

func (l *keysLoader) writeTotals(w *rowWriter) error {
	if l.totals == (keyTotals{}) {
		return nil
	}
	return w.set(row(rowKeyTotals), l.totals.encode())
}
