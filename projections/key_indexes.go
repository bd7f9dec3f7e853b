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
	add  func(*rowList, *KeyRow, []byte) // the rows of a key, with their value
}

// keyIndexes are all there are, in the order of their rows. Those that sort are there twice,
// see everyOrganization.
var keyIndexes = func() (all []keyIndex) {
	for _, o := range sortOrders {
		if !o.usage {
			all = append(all, sortIndex(o, func(k *KeyRow) [idSize]byte { return k.Org.Bytes() }),
				sortIndex(o, func(*KeyRow) [idSize]byte { return everyOrganization }))
		}
	}
	all = append(all, keyIndex{rowByOwner, addOwner}, keyIndex{rowByScope, addScopes},
		keyIndex{rowByPrefix, addPrefixes}, keyIndex{rowExpiresNext, addExpiresNext})
	slices.SortStableFunc(all, func(a, b keyIndex) int { return cmp.Compare(a.kind, b.kind) })
	return all
}()

func sortIndex(o *sortOrder, org func(*KeyRow) [idSize]byte) keyIndex {
	return keyIndex{o.index, func(l *rowList, k *KeyRow, expires []byte) {
		if value := o.value(k); value != nil {
			id := k.ID.Bytes()
			l.add(expires, o.index, partition(org(k), k.Keyspace, k.State), value, id[:])
		}
	}}
}

func addOwner(l *rowList, k *KeyRow, expires []byte) {
	if k.Owner != "" {
		org, id := k.Org.Bytes(), k.ID.Bytes()
		l.add(expires, rowByOwner, text(k.Owner), org[:], moment(k.CreatedAt), id[:])
	}
}

func addScopes(l *rowList, k *KeyRow, expires []byte) {
	org, id := k.Org.Bytes(), k.ID.Bytes()
	for _, s := range k.Scopes {
		l.add(expires, rowByScope, text(s), org[:], moment(k.CreatedAt), id[:])
	}
}

func addPrefixes(l *rowList, k *KeyRow, expires []byte) {
	org, id := k.Org.Bytes(), k.ID.Bytes()
	for i, s := range k.Secrets {
		same := func(t domain.KeySecret) bool { return t.Prefix == s.Prefix }
		if !slices.ContainsFunc(k.Secrets[:i], same) {
			l.add(expires, rowByPrefix, text(s.Prefix), org[:], id[:])
		}
	}
}

func addExpiresNext(l *rowList, k *KeyRow, expires []byte) {
	if expires != nil && k.State != domain.Revoked && !k.ExpiryRecorded() {
		id := k.ID.Bytes()
		l.add(expires, rowExpiresNext, expires, id[:])
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
	expires := momentOrNil(k.ExpiresAt)
	for _, index := range keyIndexes {
		index.add(&l, k, expires)
	}
	return l
}
