package projections

import (
	"slices"
	"strings"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/keytrail/keytrail/domain"
)

// Live keys are those of products that are not at their end, as the ledger tells it. A plan can
// bound how many an organization has.

// live reports whether a key is one.
func live(k *domain.Key) bool {
	state := stateOnLedger(*k)
	return k.Keyspace != domain.ManagementKeyspace && (state == domain.Active || state == domain.Disabled)
}

// addLive is the index of an organization's live keys, oldest first.
func addLive(l *rowList, k *indexedKey) {
	if live(&k.Key) {
		l.add(k.expires, rowLive, k.org[:], k.created, k.id[:])
	}
}

// liveKeys are by how many the live keys of organizations have become more.
type liveKeys map[[idSize]byte]int64

// move counts a key that has changed, and reports whether the live keys are others now.
func (n liveKeys) move(before, after *domain.Key) (changed bool) {
	was, is := live(before), live(after)
	switch org := after.Org.Bytes(); {
	case is && !was:
		n[org]++
	case was && !is:
		n[org]--
	}
	return was != is
}

// add changes the rows by n.
func (n liveKeys) add(r rowMap) error {
	for org, more := range n {
		have, err := loadCount(r, rowLiveKeys, org)
		if err == nil {
			err = setCount(r, rowLiveKeys, org, have+more)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func loadCount(r rowMap, kind byte, org [idSize]byte) (n int64, err error) {
	_, err = r.get(row(kind, org[:]), func(v []byte) error {
		count, _ := cutNumber(v)
		n = int64(count)
		return nil
	})
	return n, err
}

// setCount leaves no row of 0.
func setCount(r rowMap, kind byte, org [idSize]byte, n int64) error {
	if n == 0 {
		return r.delete(row(kind, org[:]))
	}
	return r.set(row(kind, org[:]), number(uint64(n)))
}

// Unplaced is how many live keys of an organization have no place in its plan's quota: they are from before
// it had a plan that bounds them.
func (s *Store) Unplaced(org domain.OrgID) (int, error) {
	now, bits := s.quotas.snapshot(), org.Bytes()
	defer now.release()
	keys, err := loadCount(now.rows(s.keys.slot), rowLiveKeys, bits)
	if err != nil {
		return 0, err
	}
	placed, err := loadCount(now.rows(s.quotas.slot), rowPlaced, bits)
	return int(max(keys-placed, 0)), err
}

// Surplus reports whether a key is beyond the number that its organization's plan allows: of more keys
// the oldest go on working. The cache has the first one that does not, so that an organization
// that is within its plan costs one look-up, until its live keys are others.
func (s *Store) Surplus(c *Credential, p *domain.Plan) (bool, error) {
	if p.KeysAtMost == nil {
		return false, nil
	}
	org, bound := c.OrgBytes(), string(number(uint64(*p.KeysAtMost)))
	digest := idDigest(org)
	entry, cached := s.surplus.find(&digest)
	if !cached || !strings.HasPrefix(entry, bound) {
		var err error
		if entry, err = s.findSurplus(org, &digest, *p.KeysAtMost); err != nil {
			return false, err
		}
	}
	first := entry[len(bound):]
	if first == "" {
		return false, nil
	}
	k, err := s.KeyState(domain.All, c.Key)
	id := c.Key.Bytes()
	return string(moment(k.CreatedAt))+string(id[:]) >= first, err
}

// findSurplus puts an entry into the cache: the bound, and if an organization has more live keys, when
// the first one beyond it was created, and its id.
func (s *Store) findSurplus(org [idSize]byte, digest *domain.Digest, bound int) (string, error) {
	now := s.keys.snapshot()
	defer now.release()
	r, entry := now.rows(s.keys.slot), number(uint64(bound))
	n, err := loadCount(r, rowLiveKeys, org)
	if err != nil {
		return "", err
	}
	if int(n) > bound {
		entry = append(entry, r.nthLive(org, bound, int(n))...)
	}
	s.surplus.put(now.number, digest, entry)
	return string(entry), nil
}

// nthLive is what the row of an organization's i-th oldest live key, of n, ends with. It is looked for from the
// nearer end.
func (r rows) nthLive(org [idSize]byte, i, n int) []byte {
	prefix := r.key(row(rowLive, org[:]))
	from, skip, reverse := prefix, i, i > n/2
	if reverse {
		from, skip = slices.Concat(prefix, lastID[:]), n-1-i
	}
	it := r.tx.NewIterator(badger.IteratorOptions{Prefix: prefix, Reverse: reverse})
	defer it.Close()
	for it.Seek(from); it.Valid() && skip > 0; it.Next() {
		skip--
	}
	if !it.Valid() {
		return nil
	}
	return it.Item().KeyCopy(nil)[len(prefix):]
}
