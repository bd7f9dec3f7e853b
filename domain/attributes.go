package domain

import "maps"

// Attributes are what is known of an owner or an organization, by names of the operator's
// choice. Keyspaces can require some.
type Attributes map[string]string

// maxAttributes is how many an owner or an organization has at most.
const maxAttributes = 50

// AttributeChanges are new values; nil takes an attribute away. Those that are not named stay,
// unless Replace is set.
type AttributeChanges struct {
	Values  map[string]*string
	Replace bool
}

// some reports whether changes were asked for.
func (c AttributeChanges) some() bool { return c.Replace || len(c.Values) > 0 }

// changed is a with c applied, in a map of its own, or nil if that is no change.
func (a Attributes) changed(c AttributeChanges) (Attributes, error) {
	next := maps.Clone(a)
	if c.Replace || next == nil {
		next = Attributes{}
	}
	for name, value := range c.Values {
		if value == nil {
			delete(next, name)
		} else {
			next[name] = *value
		}
	}
	switch {
	case maps.Equal(a, next):
		return nil, nil
	case len(next) > maxAttributes:
		return nil, InvalidField("attributes", "must have at most %d entries", maxAttributes)
	}
	return next, nil
}
