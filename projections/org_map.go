package projections

import "maps"

// An orgMap has a value for some organizations. It never changes, so that it is read without a
// lock. A map with another value is a new one, which copies one of the parts.
type orgMap[V comparable] [orgMapParts]map[[idSize]byte]V

// orgMapParts makes a change cheap also if ten thousand organizations have a value, one after the
// other.
const orgMapParts = 256

func (m *orgMap[V]) get(id [idSize]byte) (v V, has bool) {
	v, has = m[id[0]][id]
	return v, has
}

// with is the map in which an organization has a value.
func (m *orgMap[V]) with(id [idSize]byte, v V) *orgMap[V] {
	if have, has := m.get(id); has && have == v {
		return m
	}
	next, part := *m, maps.Clone(m[id[0]])
	if part == nil {
		part = map[[idSize]byte]V{}
	}
	part[id] = v
	next[id[0]] = part
	return &next
}

// without is the map in which an organization has none.
func (m *orgMap[V]) without(id [idSize]byte) *orgMap[V] {
	if _, has := m.get(id); !has {
		return m
	}
	next, part := *m, maps.Clone(m[id[0]])
	delete(part, id)
	next[id[0]] = part
	return &next
}
