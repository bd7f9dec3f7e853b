package projections

import (
	"time"

	"github.com/keytrail/keytrail/domain"
)

// Overdue are keys whose time has run out by now without key.expired having been applied,
// the longest overdue first, at most limit.
func (s *Store) Overdue(now time.Time, limit int) (keys []domain.Key, err error) {
	err = s.keys.read(func(r rows) error {
		w := r.walk(span{prefix: row(rowExpiresNext), until: moment(now.Add(time.Millisecond))})
		defer w.close()
		for ; w.valid && len(keys) < limit; w.next() {
			k, err := loadKey(r, domain.KeyIDFromBytes(w.at.id))
			if err != nil {
				return err
			}
			keys = append(keys, k.Key)
		}
		return nil
	})
	return keys, err
}
