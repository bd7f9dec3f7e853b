package projections

import (
	"bytes"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// The history of keys: what a key was like before each event that changed it, in a row of its
// id and the position at which that began. A key that never changed has none. An event like the
// derivation of a token changes nothing that is listed but the revision: of what such events
// left, the row has only the position of the row that is the same otherwise.

func formerRow(id [idSize]byte, p eventstore.Position) []byte {
	return row(rowFormer, id[:], number(uint64(p)))
}

// former is the value of the row that k leaves behind when an event changes it.
func (k *KeyRow) former() []byte {
	if k.Since != k.Revision {
		return number(uint64(k.Since))
	}
	return k.encode()
}

// setFormer writes that row.
func (k *KeyRow) setFormer(r rowMap) error {
	if k.State == domain.Absent {
		return nil
	}
	return r.set(formerRow(k.ID.Bytes(), k.Revision), k.former())
}

// listedLike reports whether a listing shows k as it does b, but for the revision.
func (k *KeyRow) listedLike(b *KeyRow) bool {
	if b.State == domain.Absent {
		return false
	}
	like := *b
	like.Revision, like.Since = k.Revision, k.Since
	like.RecordedExpiry, like.NotedExpiry, like.NotedIdle = k.RecordedExpiry, k.NotedExpiry, k.NotedIdle
	like.Leaks, like.TokenMinute, like.Tokens = k.Leaks, k.TokenMinute, k.Tokens
	return bytes.Equal(like.encode(), k.encode())
}

// keyHistory finds keys as they were at a position.
type keyHistory struct {
	rows
	at     eventstore.Position
	former *badger.Iterator
}

// history is r at a position. The caller closes it.
func (r rows) history(at eventstore.Position) keyHistory {
	return keyHistory{r, at, r.tx.NewIterator(badger.IteratorOptions{Prefix: r.key([]byte{rowFormer}), Reverse: true})}
}

func (h keyHistory) close() { h.former.Close() }

// key gives the zero KeyRow for a key that did not exist. It takes one seek, however many events
// the key has.
func (h keyHistory) key(id domain.KeyID) (k KeyRow, err error) {
	if k, err = loadKey(h.rows, id); err != nil || k.Revision <= h.at {
		return k, err
	}
	bits := id.Bytes()
	h.former.Seek(h.rows.key(formerRow(bits, h.at)))
	if !h.former.ValidForPrefix(h.rows.key(row(rowFormer, bits[:]))) {
		return KeyRow{}, nil
	}
	item := h.former.Item()
	revision, _ := cutNumber(item.Key()[tableKeyHead+1+idSize:])
	err = item.Value(func(v []byte) error { return h.read(&k, id, v) })
	k.Revision = eventstore.Position(revision)
	return k, err
}

// read reads what former wrote.
func (h keyHistory) read(k *KeyRow, id domain.KeyID, former []byte) error {
	if len(former) > len(number(0)) {
		return k.decode(id, string(former))
	}
	since, _ := cutNumber(former)
	_, err := h.get(formerRow(id.Bytes(), eventstore.Position(since)), func(v []byte) error { return k.decode(id, string(v)) })
	return err
}

// KeyAt finds one key within reach as it was at a position, without when it was used last;
// domain.ErrKeyNotFound.
func (s *Store) KeyAt(reach domain.Reach, id domain.KeyID, at eventstore.Position) (k KeyRow, err error) {
	err = s.keys.read(func(r rows) (err error) {
		h := r.history(at)
		defer h.close()
		k, err = h.key(id)
		return err
	})
	if err == nil && (k.State == domain.Absent || !reach.Includes(k.Org)) {
		return KeyRow{}, domain.ErrKeyNotFound
	}
	return k, err
}
