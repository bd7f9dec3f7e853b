package projections

import (
	badger "github.com/dgraph-io/badger/v4"

	"github.com/keytrail/keytrail/domain"
)

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
			if err := it.Item().Value(k.decode); err != nil {
				return err
			}
			page = append(page, k)
		}
		return nil
	})
	return page, err
}
