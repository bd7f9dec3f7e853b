package projections

import (
	"github.com/keytrail/keytrail/domain"
)

// Unmet is the index of the first requirement that the owner of a key or its organization does
// not meet, by an attribute that is there and not empty; -1: all are met.
func (s *Store) Unmet(c *Credential, requirements []domain.Requirement) (int, error) {
	var names [2]string // of the attributes of the owner and of the organization
	var known [2]bool
	for i := range requirements {
		of := 0
		if requirements[i].OfOrganization() {
			of = 1
		}
		if !known[of] {
			var err error
			if names[of], err = s.attributeNames(c, of == 1); err != nil {
				return -1, err
			}
			known[of] = true
		}
		if !hasText(names[of], requirements[i].Attribute) {
			return i, nil
		}
	}
	return -1, nil
}

// attributeNames are the names of the attributes with a value that a key's organization or its
// owner has, as appendTexts has them. They come from the cache, in which also those without any
// have an entry.
func (s *Store) attributeNames(c *Credential, ofOrganization bool) (names string, err error) {
	id := c.Org.Bytes()
	if !ofOrganization {
		id = domain.OwnerBytes(c.Org, c.Owner)
	}
	digest := idDigest(id)
	if names, cached := s.attributes.find(&digest); cached {
		return names, nil
	}
	v := s.owners
	if ofOrganization {
		v = s.organizations
	}
	now := v.snapshot()
	defer now.release()
	attributes, err := loadAttributes(now.rows(v.slot), id, ofOrganization)
	if err != nil {
		return "", err
	}
	var withValue []string
	for name, value := range attributes {
		if value != "" {
			withValue = append(withValue, name)
		}
	}
	row := appendTexts(nil, withValue)
	s.attributes.put(now.number, &digest, row)
	return string(row), nil
}

func loadAttributes(r rows, id [idSize]byte, ofOrganization bool) (domain.Attributes, error) {
	if ofOrganization {
		o, err := loadOrganization(r, domain.OrgIDFromBytes(id))
		return o.Attributes, err
	}
	o, err := loadOwner(r, id)
	return o.Attributes, err
}

// hasText reports whether a counted list has a text.
func hasText(list, text string) (found bool) {
	eachText(list, func(s string) { found = found || s == text })
	return found
}

// idDigest is an id in the place of a digest, as which the cache finds it: both are as good as
// random.
func idDigest(id [idSize]byte) (d domain.Digest) {
	copy(d[copy(d[:], id[:]):], id[:])
	return d
}
