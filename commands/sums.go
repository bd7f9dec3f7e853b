package commands

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// What principals read, and what they were refused, is on the trail as sums: the first occurrence
// of a kind is an event, and its repeats within an hour are counted in memory and are one event
// when the hour is over, or the service stops. So no principal can flood the ledger, one that
// follows its own reads included. A crash loses the counts of an hour at most. Each single request
// is a use of the principal's key besides.

const (
	// countedFor is how long repeats are counted before they are written.
	countedFor = time.Hour
	// sumsPerFlush is how many principals' events are written at once: they share atomic batches.
	sumsPerFlush = 32
	// maxFilterValue is how much of a parameter is kept, in bytes.
	maxFilterValue = 200
)

// An occurrence is what a principal did, for the trail of an organization.
type occurrence struct {
	by        domain.Principal
	org       domain.OrgID
	what      domain.Sum // with its occurrences, mostly one
	continued bool       // what was counted before goes on: it counts once
}

// A sumID is what occurrences have in common that are counted as one.
type sumID struct {
	reader readerID
	org    domain.OrgID
	kind   string
}

// A readerID is who reads, or is refused.
type readerID struct {
	org domain.OrgID
	id  string
}

func (r readerID) principal() domain.Principal { return domain.Principal{ID: r.id, Org: r.org} }

// several stands for the principals of an organization that there is no room to tell apart.
const several = "several"

// id is what o is counted by.
func (o *occurrence) id() sumID {
	kind, err := json.Marshal(o.what.With(domain.Occurrences{}))
	if err != nil {
		panic(err) // texts and numbers alone
	}
	return sumID{readerID{o.by.Org, o.by.ID}, o.org, domain.TypeOf(o.what) + string(kind)}
}

// combine makes o one of several kinds of its reader, in the trail of the reader's organization.
func (o *occurrence) combine() sumID {
	o.what, o.org = o.what.Combined().With(o.what.Occurred()), o.by.Org
	return o.id()
}

// A sum counts the occurrences of one kind.
type sum struct {
	sumID
	kind    domain.Sum
	counted domain.Occurrences // since the last event; Count 0: none
	due     time.Time          // when they are to be written, or, without any, the sum ends
	written chan struct{}      // closed when the first event is written, or err says why not; of reads of the trail
	err     error
}

func (s *sum) wait(ctx context.Context) error {
	select {
	case <-s.written:
		return s.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *sum) add(o occurrence) {
	if o.continued && s.counted.Count > 0 {
		s.counted.At = o.what.Occurred().At
		return
	}
	s.counted = s.counted.Plus(o.what.Occurred())
}

// sums are those that were begun on this node within the hour. Half of them are of kinds that are
// told apart, the other half is for readers whose kinds are combined.
type sums struct {
	kinds int  // that are told apart of one reader
	most  int  // at about 500 bytes each
	late  bool // the first occurrence is counted and written soon; else its caller writes it

	mu       sync.Mutex
	byID     map[sumID]*sum
	byReader map[readerID]int // how many it has
	begun    []*sum           // if late: since the last pass
}

func newSums(kinds, most int, late bool) *sums {
	return &sums{kinds: kinds, most: most, late: late, byID: map[sumID]*sum{}, byReader: map[readerID]int{}}
}

// join finds the sum that o belongs to and counts o there, or begins one. What finds no room is in
// the sum of its organization, or, if its caller writes it, an event each time.
func (t *sums) join(o occurrence, now time.Time) (s *sum, found bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	id := o.id()
	if s, found = t.byID[id]; !found && (t.byReader[id.reader] >= t.kinds || len(t.byID) >= t.most/2) {
		id = o.combine()
		s, found = t.byID[id]
	}
	room := found || len(t.byID) < t.most
	if !room && t.late {
		o.by.ID = several
		id = o.combine()
		s, found = t.byID[id]
	}
	if found {
		s.add(o)
		return s, true
	}
	s = &sum{sumID: id, kind: o.what.With(domain.Occurrences{}), due: now.Add(countedFor), written: make(chan struct{})}
	if room || t.late {
		t.byID[id] = s
		t.byReader[id.reader]++
	}
	if t.late {
		s.add(o)
		t.begun = append(t.begun, s)
	}
	return s, false
}

func (t *sums) drop(s *sum) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.remove(s)
}

func (t *sums) remove(s *sum) {
	if t.byID[s.sumID] != s {
		return
	}
	delete(t.byID, s.sumID)
	if t.byReader[s.reader]--; t.byReader[s.reader] == 0 {
		delete(t.byReader, s.reader)
	}
}

// A countedSum is what a sum has counted when it is written.
type countedSum struct {
	*sum
	what domain.Sum
}

// takeBegun takes what was counted of the sums that were begun since the last pass.
func (t *sums) takeBegun() (all []countedSum) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.begun {
		all = s.take(all)
	}
	t.begun = nil
	return all
}

// take takes what was counted of the sums that are due. One that counted nothing ends; the others
// begin to count anew.
func (t *sums) take(now time.Time) (all []countedSum) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.byID {
		switch {
		case now.Before(s.due):
		case s.counted.Count == 0:
			t.remove(s)
		default:
			all = s.take(all)
			s.due = now.Add(countedFor)
		}
	}
	return all
}

// take adds to all what s has counted, if anything.
func (s *sum) take(all []countedSum) []countedSum {
	if s.counted.Count > 0 {
		all = append(all, countedSum{s, s.kind.With(s.counted)})
		s.counted = domain.Occurrences{}
	}
	return all
}

// putBack counts what was not written again, for a pass soon.
func (t *sums) putBack(c countedSum, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c.counted = c.counted.Plus(c.what.Occurred())
	c.due = now
}

// WriteSums writes what was counted: each second what was begun, each minute what an hour is over
// for, and when ctx ends all of it.
func (h *Handler) WriteSums(ctx context.Context) {
	second, minute := time.NewTicker(time.Second), time.NewTicker(time.Minute)
	defer second.Stop()
	defer minute.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), eventstore.Deadline)
			defer cancel()
			h.writeDue(last, h.clock().AddDate(100, 0, 0)) // all of it, whatever the clock did
			return
		case <-second.C:
			h.writeSums(ctx, h.accesses, h.accesses.takeBegun())
		case <-minute.C:
			h.writeDue(ctx, h.clock())
		}
	}
}

// writeDue writes the sums that are due at a time.
func (h *Handler) writeDue(ctx context.Context, at time.Time) {
	for _, t := range []*sums{h.reads, h.accesses} {
		h.writeSums(ctx, t, t.take(at))
	}
}

// writeSums writes sums, those of one principal one after another: they have one history.
func (h *Handler) writeSums(ctx context.Context, of *sums, all []countedSum) {
	byHistory := map[eventstore.Ref][]countedSum{}
	for _, c := range all {
		ref := c.ref()
		byHistory[ref] = append(byHistory[ref], c)
	}
	var writing errgroup.Group
	writing.SetLimit(sumsPerFlush)
	for _, some := range byHistory {
		writing.Go(func() (failure error) {
			for _, c := range some {
				if err := h.writeSum(ctx, Request{By: c.reader.principal()}, c.org, c.what); err != nil {
					of.putBack(c, h.clock())
					failure = err
				}
			}
			return failure
		})
	}
	if err := writing.Wait(); err != nil {
		h.log.WarnContext(ctx, "sums of what was read or refused not written; a later pass tries again", "err", err)
	}
}

func (s *sum) ref() eventstore.Ref { return eventstore.ReaderRef(s.org, s.reader.principal()) }

func (h *Handler) writeSum(ctx context.Context, by Request, org domain.OrgID, what domain.Sum) error {
	ref := eventstore.ReaderRef(org, by.By)
	end, err := h.ledger.Last(ctx, ref)
	if err != nil {
		return err
	}
	assumed := &assumption[domain.Reader]{position: end, base: true}
	_, err = execute(ctx, h, ref, by, assumed, func(domain.Reader) (domain.Event, error) { return what, nil })
	return err
}

// clipFilter is f with values of a bounded length.
func clipFilter(f map[string]string) map[string]string {
	if len(f) == 0 {
		return nil
	}
	clipped := map[string]string{}
	for name, value := range f {
		clipped[name] = strings.ToValidUTF8(value[:min(len(value), maxFilterValue)], "")
	}
	return clipped
}
