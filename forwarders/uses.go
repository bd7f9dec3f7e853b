package forwarders

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// What a sink can get of uses, see domain.SinkUses.
const (
	usesSampled = "sampled"
	usesSummed  = "summed"
	usesNone    = "none"
)

// wantsUse reports whether a sink gets the use: if it samples, every refusal, and of the valid ones
// those that their place in the ledger chooses, so that a repeat chooses the same.
func wantsUse(s domain.SinkUses, r *eventstore.Record, u *domain.KeyUsed) bool {
	if s.Mode != usesSampled || u.Code != domain.UseValid || s.OneIn <= 1 {
		return true
	}
	hash := sha256.Sum256([]byte(r.Identity()))
	return binary.BigEndian.Uint64(hash[:])%uint64(s.OneIn) == 0
}

// sums are the uses of a minute, by key and outcome. What minute it is, and where it ends, follows
// from when the server stored the messages and not from a clock of ours, so that reading again
// from before its first use gives the same sums.
type sums struct {
	minute time.Time
	begun  eventstore.Cursor // before the first use
	of     map[sumOf]int     // by index in records
	all    []eventstore.Record
}

type sumOf struct {
	key  domain.KeyID
	code domain.Outcome
}

// The bounds of sums: how many there are before a minute ends early, at the same use each time; how
// long after its end a minute waits for messages, which a server that lags may store; and how many
// addresses and resources a sum tells.
const (
	maxSums       = 10_000
	sumGrace      = 5 * time.Second
	maxSumDetails = 10
)

func (s *sums) open() bool { return len(s.all) > 0 }

// due is when the minute ends though no later use comes.
func (s *sums) due() time.Time { return s.minute.Add(time.Minute + sumGrace) }

// closes reports whether r begins another minute.
func (s *sums) closes(r *eventstore.Record) bool {
	return s.open() && (r.Stored.Truncate(time.Minute).After(s.minute) || len(s.all) >= maxSums)
}

// add counts a use; before is the place before it.
func (s *sums) add(r *eventstore.Record, u *domain.KeyUsed, before eventstore.Cursor) {
	if !s.open() {
		s.minute, s.begun, s.of = r.Stored.Truncate(time.Minute), before, map[sumOf]int{}
	}
	of := sumOf{u.Key, u.Code}
	i, ok := s.of[of]
	if !ok {
		s.of[of] = len(s.all)
		s.all = append(s.all, *r)
		return
	}
	sum := s.all[i].Event.(domain.KeyUsed)
	addUse(&sum, u)
	s.all[i].Event, s.all[i].Time = sum, sum.At
}

// addUse makes a sum stand for a use as well.
func addUse(sum *domain.KeyUsed, u *domain.KeyUsed) {
	if sum.First.IsZero() { // it was a use: what it alone had is no longer true of all
		sum.First = sum.At
		sum.Addresses, sum.Resources = details(nil, sum.IP), details(nil, sum.Resource)
		sum.IP, sum.Resource, sum.RequestID, sum.Principal, sum.Scopes, sum.Windows = "", "", "", "", nil, nil
	}
	cost := max(sum.Cost, sum.Uses()) + max(u.Cost, u.Uses())
	sum.Count, sum.Cost = sum.Uses()+u.Uses(), 0
	if cost > sum.Count {
		sum.Cost = cost
	}
	if u.At.After(sum.At) {
		sum.At = u.At
	}
	if first := cmp.Or(u.First, u.At); first.Before(sum.First) {
		sum.First = first
	}
	sum.Addresses = details(sum.Addresses, append([]string{u.IP}, u.Addresses...)...)
	sum.Resources = details(sum.Resources, append([]string{u.Resource}, u.Resources...)...)
}

// details adds some that are new. all may be others' as well.
func details(all []string, some ...string) []string {
	all = slices.Clip(all)
	for _, d := range some {
		if d != "" && len(all) < maxSumDetails && !slices.Contains(all, d) {
			all = append(all, d)
		}
	}
	return all
}

// take are the sums, in the order of their first uses.
func (s *sums) take() []eventstore.Record { return s.all }

// reset begins another minute.
func (s *sums) reset() { s.all, s.of = nil, nil }

// eventTypes are the types of events that a sink gets; nil: all.
func eventTypes(d domain.SinkDefinition) []string {
	if len(d.EventTypes) == 0 && d.Uses.Mode != usesNone {
		return nil
	}
	types := []string{}
	for _, t := range domain.EventTypes {
		if (len(d.EventTypes) == 0 || slices.Contains(d.EventTypes, t.Name)) && !(t.Use && d.Uses.Mode == usesNone) {
			types = append(types, t.Name)
		}
	}
	return types
}
