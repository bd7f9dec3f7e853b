package projections

import (
	"bytes"
	"time"

	"github.com/keytrail/keytrail/domain"
)

// Overdue are keys whose time has run out by now without key.expired having been applied,
// the longest overdue first, at most limit.
func (s *Store) Overdue(now time.Time, limit int) (keys []domain.Key, err error) {
	err = s.keys.read(func(r rows) error {
		return r.eachOverdue(now, func(id domain.KeyID) (bool, error) {
			k, _, err := loadKey(r, id)
			keys = append(keys, k)
			return len(keys) < limit, err
		})
	})
	return keys, err
}

// eachOverdue calls f with each key whose time has run out, until it returns false.
func (r rows) eachOverdue(now time.Time, f func(domain.KeyID) (bool, error)) error {
	it := r.walk(span{prefix: row(rowExpiresNext)})
	defer it.close()
	for ; it.valid; it.next() {
		if bytes.Compare(it.at.value, moment(now)) > 0 {
			return nil
		}
		if more, err := f(domain.KeyIDFromBytes(it.at.id)); err != nil || !more {
			return err
		}
	}
	return nil
}
