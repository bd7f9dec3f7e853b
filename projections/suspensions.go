package projections

import (
	"maps"

	"github.com/keytrail/keytrail/domain"
)

// An orgSet is a set of organizations that never changes, so that it is read without a lock. A set
// with one more is a new one, which copies one of the parts.
type orgSet [orgSetParts]map[[idSize]byte]struct{}

// orgSetParts makes a change cheap also if ten thousand organizations are suspended, one after the
// other.
const orgSetParts = 256

func (s *orgSet) has(id [idSize]byte) bool {
	_, found := s[id[0]][id]
	return found
}

// with is the set with an organization in it, or without it.
func (s *orgSet) with(id [idSize]byte, in bool) *orgSet {
	if s.has(id) == in {
		return s
	}
	next, part := *s, maps.Clone(s[id[0]])
	if in {
		if part == nil {
			part = map[[idSize]byte]struct{}{}
		}
		part[id] = struct{}{}
	} else {
		delete(part, id)
	}
	next[id[0]] = part
	return &next
}

// Suspended reports whether an organization is suspended. It takes no lock.
func (s *Store) Suspended(org domain.OrgID) bool { return s.suspended.Load().has(org.Bytes()) }

// OrgSuspended reports whether that of a credential is, without spelling its id.
func (s *Store) OrgSuspended(c *Credential) bool {
	return s.suspended.Load().has([idSize]byte([]byte(encodedOrg(c.encoded))))
}
