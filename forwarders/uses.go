package forwarders

import (
	"cmp"
	"slices"
	"strings"
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

// sums are the uses of a minute, by key and outcome. What minute it is, and where it ends, follows
// from when the server stored the messages and not from a clock of ours, so that reading again
// from before its first use gives the same sums.
type sums struct {
	minute time.Time
	begun  eventstore.Cursor // before the first use
	of     map[sumOf]*sum
	all    []*sum
}

// A sum is an entry whose event is use once the minute ends.
type sum struct {
	eventstore.Entry
	use domain.KeyUsed
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
		s.minute, s.begun, s.of = r.Stored.Truncate(time.Minute), before, map[sumOf]*sum{}
	}
	if of := s.of[sumOf{u.Key, u.Code}]; of != nil {
		addUse(&of.use, u)
		return
	}
	of := newSum(r, u)
	s.of[sumOf{of.use.Key, of.use.Code}] = of
	s.all = append(s.all, of)
}

// newSum is that of one use. Its texts are in memory of their own: those of a record hold the whole
// message that it came in.
func newSum(r *eventstore.Record, u *domain.KeyUsed) *sum {
	s := &sum{Entry: eventstore.Entry{Record: *r}, use: *u}
	for _, text := range []*string{(*string)(&s.Org), &s.Subject, &s.Node, &s.Actor, &s.Correlation,
		(*string)(&s.use.Key), (*string)(&s.use.Code), &s.use.IP, &s.use.Principal, &s.use.RequestID, &s.use.Resource} {
		*text = strings.Clone(*text)
	}
	s.use.Scopes, s.use.Addresses, s.use.Resources = cloned(u.Scopes), cloned(u.Addresses), cloned(u.Resources)
	return s
}

func cloned(texts []string) []string {
	texts = slices.Clone(texts)
	for i := range texts {
		texts[i] = strings.Clone(texts[i])
	}
	return texts
}

// addUse makes a sum stand for a use as well.
func addUse(sum *domain.KeyUsed, u *domain.KeyUsed) {
	if sum.First.IsZero() { // it was a use: what it alone had is no longer true of all
		sum.First = sum.At
		sum.Addresses, sum.Resources = detail(nil, sum.IP), detail(nil, sum.Resource)
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
	sum.Addresses = details(detail(sum.Addresses, u.IP), u.Addresses)
	sum.Resources = details(detail(sum.Resources, u.Resource), u.Resources)
}

// details adds those that are new.
func details(all, some []string) []string {
	for _, d := range some {
		all = detail(all, d)
	}
	return all
}

// detail adds one if it is new.
func detail(all []string, d string) []string {
	if d == "" || len(all) == maxSumDetails || slices.Contains(all, d) {
		return all
	}
	return append(all, strings.Clone(d))
}

// take are the sums, in the order of their first uses.
func (s *sums) take() []*eventstore.Entry {
	all := make([]*eventstore.Entry, len(s.all))
	for i, of := range s.all {
		of.Event, of.Time = of.use, of.use.At
		all[i] = &of.Entry
	}
	return all
}

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
