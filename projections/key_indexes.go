package projections

import (
	"cmp"
	"slices"

	"github.com/keytrail/keytrail/domain"
)

// A keyIndex is one kind of rows by which keys are found. The value of each row is when the key
// expires, so that a walk need not load a key which the filter on that leaves out.
type keyIndex struct {
	kind byte
	add  func(*rowList, *indexedKey)
}

// An indexedKey is a key with what many of its index rows have.
type indexedKey struct {
	KeyRow
	id, org [idSize]byte
	created []byte
	expires []byte // the value of each row
}

// setTimes sets what follows from the row.
func (k *indexedKey) setTimes() {
	k.created = append(k.created[:0], moment(k.CreatedAt)...)
	k.expires = momentOrNil(k.ExpiresAt)
}

// keyIndexes are all there are, in the order of their rows. Those that sort are there twice,
// see everyOrganization.
var keyIndexes = func() (all []keyIndex) {
	for _, o := range sortOrders {
		if !o.usage {
			all = append(all, sortIndex(o, func(k *indexedKey) [idSize]byte { return k.org }),
				sortIndex(o, func(*indexedKey) [idSize]byte { return everyOrganization }))
		}
	}
	all = append(all, keyIndex{rowByOwner, addOwner}, keyIndex{rowByScope, addScopes},
		keyIndex{rowByPrefix, addPrefixes}, keyIndex{rowExpiresNext, addExpiresNext}, keyIndex{rowLive, addLive})
	slices.SortStableFunc(all, func(a, b keyIndex) int { return cmp.Compare(a.kind, b.kind) })
	return all
}()

func sortIndex(o *sortOrder, org func(*indexedKey) [idSize]byte) keyIndex {
	return keyIndex{o.index, func(l *rowList, k *indexedKey) {
		if value := o.value(&k.KeyRow); value != nil {
			l.add(k.expires, o.index, partition(org(k), k.Keyspace, k.State), value, k.id[:])
		}
	}}
}

func addOwner(l *rowList, k *indexedKey) {
	if k.Owner != "" {
		l.add(k.expires, rowByOwner, text(k.Owner), k.org[:], k.created, k.id[:])
	}
}

func addScopes(l *rowList, k *indexedKey) {
	for _, s := range k.Scopes {
		l.add(k.expires, rowByScope, text(s), k.org[:], k.created, k.id[:])
	}
}

func addPrefixes(l *rowList, k *indexedKey) {
	for i, s := range k.Secrets {
		same := func(t domain.KeySecret) bool { return t.Prefix == s.Prefix }
		if !slices.ContainsFunc(k.Secrets[:i], same) {
			l.add(k.expires, rowByPrefix, text(s.Prefix), k.org[:], k.id[:])
		}
	}
}

func addExpiresNext(l *rowList, k *indexedKey) {
	if k.expires != nil && k.State != domain.Revoked && !k.ExpiryRecorded() {
		l.add(k.expires, rowExpiresNext, k.expires, k.id[:])
	}
}

// moveIndexes writes the index rows that after has and before had not, and deletes the
// others.
func moveIndexes(r rowMap, before, after *KeyRow) error {
	old, now := before.indexRows(), after.indexRows()
	stale := map[string]bool{}
	for _, row := range old.rows {
		stale[string(old.key(row))] = true
	}
	for _, row := range now.rows {
		key := now.key(row)
		stays := stale[string(key)] && before.ExpiresAt.Equal(after.ExpiresAt)
		delete(stale, string(key))
		if stays {
			continue
		}
		if err := r.set(key, now.value(row)); err != nil {
			return err
		}
	}
	for row := range stale {
		if err := r.delete([]byte(row)); err != nil {
			return err
		}
	}
	return nil
}

// indexRows are all index rows of k.
func (k *KeyRow) indexRows() (l rowList) {
	if k.State == domain.Absent {
		return l
	}
	indexed := indexedKey{KeyRow: *k, id: k.ID.Bytes(), org: k.Org.Bytes()}
	indexed.setTimes()
	for _, index := range keyIndexes {
		index.add(&l, &indexed)
	}
	return l
}
