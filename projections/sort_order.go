package projections

import (
	"bytes"
	"strings"
)

// A sortOrder is an order in which keys can be listed, and the index that has them in it.
// The index rows of the keys table follow from it; another one needs a new version of keys.
type sortOrder struct {
	name     string // of the sort in a query
	index    byte   // the kind of its index rows
	usage    bool   // the index is in the usage table and not partitioned, else in that of keys
	optional bool   // keys may lack what is sorted by; they come last, by their creation

	// value is what a key is sorted by; nil: it has none.
	value func(*KeyRow) []byte
	// values is which of them the filters of a query leave.
	values func(*KeyQuery) valueRange
}

// sortOrders are all there are. Those whose filters leave fewer keys come later.
var sortOrders = []*sortOrder{
	byCreation,
	{name: "last_used_at", index: rowLastUsed, usage: true, optional: true,
		value:  func(k *KeyRow) []byte { return momentOrNil(k.LastUsedAt) },
		values: func(q *KeyQuery) valueRange { return valueRange{below: momentOrNil(q.LastUsedBefore)} }},
	{name: "name", index: rowByName,
		value:  func(k *KeyRow) []byte { return text(k.Name) },
		values: func(q *KeyQuery) valueRange { return valueRange{prefix: []byte(q.Name)} }},
	byExpiry,
}

var byCreation = &sortOrder{name: "created_at", index: rowByCreated,
	value:  func(k *KeyRow) []byte { return moment(k.CreatedAt) },
	values: func(q *KeyQuery) valueRange { return valueRange{above: momentOrNil(q.CreatedAfter)} }}

var byExpiry = &sortOrder{name: "expires_at", index: rowByExpiry, optional: true,
	value:  func(k *KeyRow) []byte { return momentOrNil(k.ExpiresAt) },
	values: func(q *KeyQuery) valueRange { return valueRange{below: q.expiresBelow()} }}

// SortKeys are the sorts that a KeyQuery can have, each also with a "-" before it.
var SortKeys = sortNames()

func sortNames() (names []string) {
	for _, o := range sortOrders {
		names = append(names, o.name)
	}
	return names
}

// orderOf is the order of a query's sort, by creation without one, and whether it descends.
func orderOf(sort string) (o *sortOrder, reverse bool) {
	name, reverse := strings.CutPrefix(sort, "-")
	for _, o := range sortOrders {
		if o.name == name {
			return o, reverse
		}
	}
	return byCreation, reverse
}

// A valueRange is the values of an order that are more than above, less than below and begin
// with prefix; what is empty leaves all.
type valueRange struct{ above, below, prefix []byte }

func (r valueRange) isAll() bool { return r.above == nil && r.below == nil && len(r.prefix) == 0 }

// lastID sorts after every id.
var lastID = [idSize]byte(bytes.Repeat([]byte{0xff}, idSize))

// span is the part of an index that is in r.
func (r valueRange) span(prefix []byte, reverse bool) span {
	s := span{prefix: prefix, within: r.prefix, reverse: reverse, until: r.below}
	switch {
	case reverse:
		s.until = r.above
		if r.below != nil {
			s.after = &indexEntry{value: r.below}
		}
	case r.above != nil:
		s.after = &indexEntry{value: r.above, id: lastID}
	}
	return s
}
