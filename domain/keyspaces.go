package domain

import (
	"maps"
	"slices"
	"strconv"
)

// Keyspaces are all keyspaces of an installation as of one moment, made for being read by many
// at once: they never change.
type Keyspaces struct {
	named  map[string]*Keyspace
	shapes map[int]sizedShapes // by the size of the secret
	open   map[string]bool     // keyspaces that have imported keys, whose secrets can have any shape
}

// A keyspaceShape is how secrets of a keyspace look, now or formerly.
type keyspaceShape struct {
	Shape
	keyspace string
}

// sizedShapes are the shapes of one size by their heads: to find those that a text can have takes
// a look-up for each length of a head, however many keyspaces and former formats there are.
type sizedShapes struct {
	heads  []int // their lengths, each once
	byHead map[string][]keyspaceShape
}

// with is all with one more of them.
func (all sizedShapes) with(s keyspaceShape) sizedShapes {
	if all.byHead == nil {
		all.byHead = map[string][]keyspaceShape{}
	}
	if !slices.Contains(all.heads, len(s.Head)) {
		all.heads = append(all.heads, len(s.Head))
	}
	all.byHead[s.Head] = append(all.byHead[s.Head], s)
	return all
}

// some reports whether f is so of one that has the head which a text begins with.
func (all sizedShapes) some(text string, f func(*keyspaceShape) bool) bool {
	for _, n := range all.heads {
		shapes := all.byHead[text[:n]]
		for i := range shapes {
			if f(&shapes[i]) {
				return true
			}
		}
	}
	return false
}

// NewKeyspaces makes a set of the keyspaces that were defined, and of those built in. imported
// are the names of those that have imported keys.
func NewKeyspaces(defined []Keyspace, imported ...string) *Keyspaces {
	all := &Keyspaces{named: map[string]*Keyspace{}, shapes: map[int]sizedShapes{}, open: map[string]bool{}}
	for _, name := range imported {
		all.open[name] = true
	}
	for _, name := range []string{DefaultKeyspace, ManagementKeyspace} {
		k, _ := builtIn(name)
		all.named[name] = &k
	}
	for _, k := range defined {
		all.named[k.Name] = &k
	}
	for _, k := range all.named {
		k.places, k.replies = compilePlaces(&k.KeyspaceDefinition), compileReplies(&k.KeyspaceDefinition)
		for _, f := range append(slices.Clone(k.Former), k.Format) {
			for _, s := range f.Shapes() {
				all.shapes[s.Size()] = all.shapes[s.Size()].with(keyspaceShape{s, k.Name})
			}
		}
	}
	return all
}

// Named finds a keyspace.
func (all *Keyspaces) Named(name string) (*Keyspace, error) {
	if k := all.named[name]; k != nil {
		return k, nil
	}
	return nil, InvalidField("keyspace", "there is no such keyspace; GET /v1/keyspaces lists them")
}

// Names are the names of all keyspaces, sorted.
func (all *Keyspaces) Names() []string { return slices.Sorted(maps.Keys(all.named)) }

// SessionPolicies are those of the keyspaces that take sessions.
func (all *Keyspaces) SessionPolicies() (policies []*SessionPolicy) {
	for _, k := range all.named {
		if k.Sessions != nil {
			policies = append(policies, k.Sessions)
		}
	}
	return policies
}

// Possible reports whether text can be a secret of a keyspace, "": of any but the management
// keyspace. What cannot be one is a typo or scanner noise, which no look-up finds.
func (all *Keyspaces) Possible(keyspace, text string) bool {
	if all.shapes[len(text)].some(text, func(s *keyspaceShape) bool {
		return (s.keyspace == keyspace || keyspace == "" && s.keyspace != ManagementKeyspace) && s.Matches(text)
	}) {
		return true
	}
	if keyspace == "" {
		return len(all.open) > 0
	}
	return all.open[keyspace]
}

// Shaped reports whether text has the shape of a secret, of whatever keyspace.
func (all *Keyspaces) Shaped(text string) bool {
	return all.shapes[len(text)].some(text, func(s *keyspaceShape) bool { return s.Matches(text) })
}

// CheckOverlap refuses a format if a text can have its shape and that of another keyspace.
func (all *Keyspaces) CheckOverlap(name string, f Format) error {
	for _, s := range f.Shapes() {
		for _, shapes := range all.shapes[s.Size()].byHead {
			for i := range shapes {
				if t := &shapes[i]; t.keyspace != name && s.overlaps(&t.Shape) {
					return overlapsWith(t.keyspace)
				}
			}
		}
	}
	return nil
}

func itoa(n int) string { return strconv.Itoa(n) }
