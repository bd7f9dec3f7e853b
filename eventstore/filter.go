package eventstore

import (
	"slices"
	"time"

	"github.com/keytrail/keytrail/domain"
)

// A Filter chooses events of both streams. Every empty field but Reach leaves its part out.
type Filter struct {
	Reach    domain.Reach
	Key      domain.KeyID
	Types    []string
	Actor    string
	From, To time.Time // From is included, To is not
}

// Matches reports whether f chooses r.
func (f *Filter) Matches(r *Record) bool {
	return f.Reach.Includes(r.Org) && (f.Key == "" || r.Subject == string(f.Key)) &&
		(f.Types == nil || slices.Contains(f.Types, r.Type)) && (f.Actor == "" || r.Actor == f.Actor) &&
		(f.From.IsZero() || !r.Time.Before(f.From)) && (f.To.IsZero() || r.Time.Before(f.To))
}

// excludes reports whether f chooses nothing of a stream: a reader of changes need not look
// at the uses, of which there are a thousand times as many.
func (f *Filter) excludes(s Stream) bool {
	return f.Reach == domain.Reach{} || f.Types != nil && !slices.ContainsFunc(f.Types, func(name string) bool { return types[name].Use == (s == Uses) })
}

// query reads what f may choose of a stream: the ledger can filter by subject alone.
func (f *Filter) query(s Stream) Query {
	q := Query{Stream: s, Reach: f.Reach}
	if s == Events && f.Reach.Org != "" && f.Key != "" {
		ref := KeyRef(f.Reach.Org, f.Key)
		q.Ref = &ref
	}
	return q
}

// typeBit is the bit of a type of event, by its name.
var typeBit = func() map[string]uint64 {
	bits := map[string]uint64{}
	for i, t := range domain.EventTypes {
		bits[t.Name] = 1 << i
	}
	return bits
}()

// typeBits are the bits of the types that f chooses.
func (f *Filter) typeBits() (bits uint64) {
	if f.Types == nil {
		return ^bits
	}
	for _, name := range f.Types {
		bits |= typeBit[name]
	}
	return bits
}
