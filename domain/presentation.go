package domain

import (
	"net/textproto"
	"slices"
	"strings"
)

// A Place is where a client may put its key.
type Place struct {
	In   PlaceKind
	Name string // of the header, in its canonical spelling, or of the query parameter
}

// A PlaceKind is a kind of places.
type PlaceKind string

// The kinds of places. InBearer, InBasic and InSession are all in the header Authorization: the last
// is of tokens of sessions alone, where keys do not come as Bearer.
const (
	InBearer  PlaceKind = "bearer"
	InBasic   PlaceKind = "basic"
	InHeader  PlaceKind = "header"
	InQuery   PlaceKind = "query"
	InSession PlaceKind = "session"
)

// Authorization reports whether the place is in the header Authorization, which has one
// scheme at a time.
func (p Place) Authorization() bool { return p.In == InBearer || p.In == InBasic }

var usualPlaces = []string{"bearer", "header:X-API-Key", "basic"}

// Places are where the keyspace's keys are looked for, in order, and after them sessions.
func (k *Keyspace) Places() []Place { return k.places }

func compilePlaces(d *KeyspaceDefinition) (all []Place) {
	names := d.Presentation.Places
	if len(names) == 0 {
		names = usualPlaces
	}
	for _, text := range names {
		kind, name, _ := strings.Cut(text, ":")
		if PlaceKind(kind) == InHeader {
			name = textproto.CanonicalMIMEHeaderKey(name)
		}
		all = append(all, Place{PlaceKind(kind), name})
	}
	if d.Sessions != nil && !slices.Contains(names, string(InBearer)) {
		all = append(all, Place{In: InSession})
	}
	return all
}
