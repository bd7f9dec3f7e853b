package eventstore

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/keytrail/keytrail/domain"
)

// A Filter chooses events of both streams. Every empty field but Reach leaves its part out.
type Filter struct {
	Reach    domain.Reach
	Key      domain.KeyID
	Types    []string
	Actor    string
	From, To time.Time        // From is included, To is not
	Codes    []domain.Outcome // uses with one of these outcomes
	Network  netip.Prefix     // uses from there; an IPv4 network is not written as an IPv6 one
	Resource string           // uses for it, see matchesResource
	OneIn    int              // of the valid uses one in so many, see samples
}

// Matches reports whether f chooses r.
func (f *Filter) Matches(r *Record) bool {
	return (f.samples(r.Position, r.Index) || outcome(r.Event) != domain.UseValid) && f.Reach.Includes(r.Org) && (f.Key == "" || r.Subject == string(f.Key)) &&
		(f.Types == nil || slices.Contains(f.Types, r.Type)) && (f.Actor == "" || r.Actor == f.Actor) &&
		(f.From.IsZero() || !r.Time.Before(f.From)) && (f.To.IsZero() || r.Time.Before(f.To)) &&
		(f.Codes == nil || slices.Contains(f.Codes, outcome(r.Event))) && (!f.Network.IsValid() || f.cameFrom(r.Event)) &&
		(f.Resource == "" || f.wasFor(r.Event))
}

// samples reports whether f chooses the valid use at a place: which, follows from the place alone, so
// that a repeat chooses the same. The mixing is that of SplitMix64.
func (f *Filter) samples(p Position, index int) bool {
	if f.OneIn <= 1 {
		return true
	}
	x := uint64(p)<<20 + uint64(index)
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return (x^x>>31)%uint64(f.OneIn) == 0
}

// outcome is a use's. Presented secrets of no key had one too.
func outcome(e domain.Event) domain.Outcome {
	switch e := e.(type) {
	case domain.KeyUsed:
		return e.Code
	case domain.CredentialsRefused:
		return domain.UseNotFound
	}
	return ""
}

// cameFrom reports whether a use, or one that it stands for, came from f's network.
func (f *Filter) cameFrom(e domain.Event) bool {
	u, ok := e.(domain.KeyUsed)
	return ok && (f.contains(u.IP) || slices.ContainsFunc(u.Addresses, f.contains))
}

func (f *Filter) contains(ip string) bool {
	a, err := netip.ParseAddr(ip)
	return err == nil && f.Network.Contains(a.Unmap().WithZone(""))
}

// wasFor reports whether a use, or one that it stands for, was for f's resource.
func (f *Filter) wasFor(e domain.Event) bool {
	u, ok := e.(domain.KeyUsed)
	return ok && (f.matchesResource(u.Resource) || slices.ContainsFunc(u.Resources, f.matchesResource))
}

// matchesResource compares a resource, like GET /v1/orders, with f's: with its beginning if that
// ends in *; and without the method if f names a path alone.
func (f *Filter) matchesResource(resource string) bool {
	if strings.HasPrefix(f.Resource, "/") {
		_, resource, _ = strings.Cut(resource, " ")
	}
	if prefix, ok := strings.CutSuffix(f.Resource, "*"); ok {
		return resource != "" && strings.HasPrefix(resource, prefix)
	}
	return resource == f.Resource
}

// excludes reports whether f chooses nothing of a stream: a reader of changes need not look
// at the uses, of which there are a thousand times as many.
func (f *Filter) excludes(s Stream) bool {
	return f.Reach == domain.Reach{} || s == Events && f.usesAlone() ||
		f.Types != nil && !slices.ContainsFunc(f.Types, func(name string) bool { return types[name].Use == (s == Uses) })
}

// usesAlone reports whether f asks for what only a use has.
func (f *Filter) usesAlone() bool { return f.Codes != nil || f.Network.IsValid() || f.Resource != "" }

// query reads what f may choose of a stream: the ledger can filter by subject alone.
func (f *Filter) query(s Stream) Query {
	q := Query{Stream: s, Reach: f.Reach}
	if s == Uses {
		q.uses = f.wants()
	} else if f.Key != "" {
		q.Ref = f.keyRef()
	}
	return q
}

// keyRef names f's key, in whatever organization if f reaches all.
func (f *Filter) keyRef() *Ref {
	ref := KeyRef(f.Reach.Org, f.Key)
	if f.Reach.All {
		ref.Org = "*"
	}
	return &ref
}

// wants looks at the place of a use and the beginning of its line, so that the rest of most is not
// read; nil: f may choose any.
func (f *Filter) wants() wantsUse {
	if f.Reach.All && f.Key == "" && f.Codes == nil && f.OneIn <= 1 {
		return nil
	}
	return func(message Position, index int, u *useLine) bool {
		return (f.samples(message, index) || u.Code != domain.UseValid) && f.Reach.Includes(u.Org) && (f.Key == "" || u.ID == string(f.Key)) && (f.Codes == nil || slices.Contains(f.Codes, u.Code))
	}
}

// useQuery asks an index for the messages that may have uses which f chooses.
func (f *Filter) useQuery() UseQuery {
	q := UseQuery{Org: f.Reach.Org, Key: f.Key}
	if len(f.Codes) == 1 && f.Codes[0] != domain.UseValid {
		q.Code = f.Codes[0]
	}
	return q
}

// A typeSet is a set of types of events: a bit for each, by its place in the registry.
type typeSet [2]uint64

// add adds the type of a name.
func (s *typeSet) add(name string) {
	if i, known := typePlace[name]; known {
		s[i/64] |= 1 << (i % 64)
	}
}

// meets reports whether some type is in both sets.
func (s *typeSet) meets(o typeSet) bool { return s[0]&o[0] != 0 || s[1]&o[1] != 0 }

// typePlace is the place of each type in the registry, by its name.
var typePlace = func() map[string]int {
	places := map[string]int{}
	for i, t := range domain.EventTypes {
		places[t.Name] = i
	}
	return places
}()

// typeSet are the types that f chooses.
func (f *Filter) typeSet() (chosen typeSet) {
	for _, t := range domain.EventTypes {
		if (f.Types == nil || slices.Contains(f.Types, t.Name)) && (t.Use || !f.usesAlone()) {
			chosen.add(t.Name)
		}
	}
	return chosen
}
