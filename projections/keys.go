package projections

import (
	"time"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// A KeyRow is one key as it is listed. Revision is the position of its last event, and Since
// that of the last one that changed what is listed of it.
type KeyRow struct {
	domain.Key
	Revision   eventstore.Position
	Since      eventstore.Position
	LastUsedAt time.Time // zero: never
}

func keyRow(id domain.KeyID) []byte { b := id.Bytes(); return row(rowKey, b[:]) }

// loadKey gives the zero KeyRow if there is none. When it was used last is in another table.
func loadKey(r rowMap, id domain.KeyID) (k KeyRow, err error) {
	_, err = r.get(keyRow(id), func(v []byte) error { return k.decode(id, string(v)) })
	return k, err
}

// Key finds one key within reach; domain.ErrKeyNotFound.
func (s *Store) Key(reach domain.Reach, id domain.KeyID) (KeyRow, error) {
	k, err := s.KeyState(reach, id)
	if err != nil {
		return KeyRow{}, err
	}
	k.LastUsedAt, err = s.lastUsed(id)
	return k, err
}

// KeyState is Key without when it was used last, which is in another table.
func (s *Store) KeyState(reach domain.Reach, id domain.KeyID) (k KeyRow, err error) {
	err = s.keys.read(func(r rows) (err error) {
		k, err = loadKey(r, id)
		return err
	})
	if err != nil {
		return KeyRow{}, err
	}
	if k.State == domain.Absent || !reach.Includes(k.Org) {
		return KeyRow{}, domain.ErrKeyNotFound
	}
	return k, nil
}

// KeysAfter gives all keys of the installation, whatever their state, limit at a time in
// the order of their ids. after is "" or the last key of the page before; the page after
// the last one is empty.
func (s *Store) KeysAfter(after domain.KeyID, limit int) (page []KeyRow, err error) {
	err = s.keys.read(func(r rows) error {
		from := row(rowKey)
		if after != "" {
			from = append(keyRow(after), 0)
		}
		it := r.tx.NewIterator(badger.IteratorOptions{Prefix: r.key(row(rowKey)), PrefetchValues: true, PrefetchSize: min(limit, 100)})
		defer it.Close()
		for it.Seek(r.key(from)); it.Valid() && len(page) < limit; it.Next() {
			var k KeyRow
			id := domain.KeyIDFromBytes([idSize]byte(it.Item().Key()[tableKeyHead+1:]))
			if err := it.Item().Value(func(v []byte) error { return k.decode(id, string(v)) }); err != nil {
				return err
			}
			page = append(page, k)
		}
		return nil
	})
	return page, err
}
