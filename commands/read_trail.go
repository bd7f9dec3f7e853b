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

// Reading the audit trail is on the trail. A reader's first read with a filter is an event
// before it is answered; what it repeats within an hour is counted in memory and is one event
// when the hour is over, or the service stops. So who reads is known at once, and no reader can
// flood the ledger, one that follows its own reads included. A crash loses the counts of an
// hour at most. Each single read is a use of the reader's key besides.

const (
	// countedFor is how long repeats are counted before they are written.
	countedFor = time.Hour
	// maxReadFilters is how many filters of one reader are told apart at a time. What it reads
	// with others is counted as one.
	maxReadFilters = 60
	// maxFilterValue is how much of a parameter is kept, in bytes.
	maxFilterValue = 200
	// readsPerFlush is how many events are written at once: they share atomic batches.
	readsPerFlush = 32
)

// maxCountedReads bounds the memory for counts, at about 500 bytes each. What finds no room is
// an event each time. Tests lower it.
var maxCountedReads = 50_000

// ReadTrail says that its principal is about to read the audit trail.
type ReadTrail struct {
	Request
	Access    domain.TrailAccess
	Filter    map[string]string // without the range of times
	From, To  time.Time         // zero: open
	Continued bool              // a follow that had begun goes on
}

// ReadTrail carries out c. When it fails, which it does when the ledger takes no events, the
// trail is not to be read.
func (h *Handler) ReadTrail(ctx context.Context, c ReadTrail) error {
	r, read, found := h.reads.join(c, h.clock())
	if found {
		return r.wait(ctx)
	}
	r.err = h.writeRead(context.WithoutCancel(ctx), c.Request, read) // others wait for it
	if r.err != nil {
		h.reads.drop(r)
	}
	close(r.written)
	return r.err
}

func (h *Handler) writeRead(ctx context.Context, by Request, read domain.TrailRead) error {
	ref := eventstore.ReaderRef(by.By)
	end, err := h.ledger.Last(ctx, ref)
	if err != nil {
		return err
	}
	assumed := &assumption[domain.TrailReader]{position: end, base: true}
	_, err = execute(ctx, h, ref, by, assumed, func(domain.TrailReader) (domain.Event, error) { return read, nil })
	return err
}

// WriteTrailReads writes what was read repeatedly, each minute what an hour is over for, and
// when ctx ends all of it.
func (h *Handler) WriteTrailReads(ctx context.Context) {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), eventstore.Deadline)
			defer cancel()
			h.writeReads(last, h.reads.take(0, h.clock()))
			return
		case <-tick.C:
			h.writeReads(ctx, h.reads.take(countedFor, h.clock()))
		}
	}
}

func (h *Handler) writeReads(ctx context.Context, all []countedReads) {
	var writing errgroup.Group
	writing.SetLimit(readsPerFlush)
	for _, c := range all {
		writing.Go(func() error {
			if err := h.writeRead(ctx, Request{By: c.of.reader.principal()}, c.read); err != nil {
				h.log.WarnContext(ctx, "reads of the trail not written; a later pass tries again", "reader", c.of.reader.id, "err", err)
				h.reads.putBack(c)
			}
			return nil
		})
	}
	_ = writing.Wait()
}

// A trailReader is who reads the trail.
type trailReader struct {
	org domain.OrgID
	id  string
}

func (r trailReader) principal() domain.Principal { return domain.Principal{ID: r.id, Org: r.org} }

// A readingID is what reads have in common that are counted as one.
type readingID struct {
	reader trailReader
	access domain.TrailAccess
	filter string
}

// A trailReading counts the reads of one reader with one filter.
type trailReading struct {
	readingID
	since   time.Time        // of the hour under way
	counted domain.TrailRead // since the last event; Count 0: none
	written chan struct{}    // closed when the first event is written, or err says why not
	err     error
}

func (r *trailReading) wait(ctx context.Context) error {
	select {
	case <-r.written:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// trailReads are the readings that were begun on this node within the hour.
type trailReads struct {
	mu       sync.Mutex
	byID     map[readingID]*trailReading
	byReader map[trailReader]int // how many it has
}

func newTrailReads() *trailReads {
	return &trailReads{byID: map[readingID]*trailReading{}, byReader: map[trailReader]int{}}
}

// join finds the reading that c belongs to and counts c there, or begins one, whose first read
// is to be written.
func (t *trailReads) join(c ReadTrail, now time.Time) (r *trailReading, read domain.TrailRead, found bool) {
	at := now.UTC().Truncate(time.Millisecond)
	read = domain.TrailRead{Access: c.Access, Filter: clipFilter(c.Filter), From: c.From, To: c.To, Count: 1, First: at, Header: domain.Header{At: at, By: c.By.ID}}
	t.mu.Lock()
	defer t.mu.Unlock()
	id := readingIDOf(c.By, read)
	r, found = t.byID[id]
	if !found && t.byReader[id.reader] >= maxReadFilters {
		read.Access, read.Filter = domain.AccessCombined, nil
		id = readingIDOf(c.By, read)
		r, found = t.byID[id]
	}
	switch {
	case !found:
		r = &trailReading{readingID: id, since: now, written: make(chan struct{})}
		t.keep(r)
	case c.Continued && r.counted.Count > 0: // it counts once
		r.counted.At = at
	default:
		r.counted.Add(read)
	}
	return r, read, found
}

func (t *trailReads) keep(r *trailReading) {
	if len(t.byID) < maxCountedReads {
		t.byID[r.readingID] = r
		t.byReader[r.reader]++
	}
}

func (t *trailReads) drop(r *trailReading) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.remove(r)
}

func (t *trailReads) remove(r *trailReading) {
	if t.byID[r.readingID] != r {
		return
	}
	delete(t.byID, r.readingID)
	if t.byReader[r.reader]--; t.byReader[r.reader] == 0 {
		delete(t.byReader, r.reader)
	}
}

// countedReads are what a reading has counted when it is written.
type countedReads struct {
	of   *trailReading
	read domain.TrailRead
}

// take takes what was counted for a time or longer. A reading that counted nothing in it ends;
// the others begin to count anew.
func (t *trailReads) take(after time.Duration, now time.Time) (all []countedReads) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range t.byID {
		switch {
		case now.Sub(r.since) < after:
		case r.counted.Count == 0:
			t.remove(r)
		default:
			all = append(all, countedReads{r, r.counted})
			r.counted, r.since = domain.TrailRead{}, now
		}
	}
	return all
}

// putBack counts what was not written again.
func (t *trailReads) putBack(c countedReads) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c.of.counted.Add(c.read)
}

// readingIDOf is what a read is counted by.
func readingIDOf(by domain.Principal, read domain.TrailRead) readingID {
	filter, err := json.Marshal(read.Filter)
	if err != nil {
		panic(err) // strings alone
	}
	return readingID{trailReader{by.Org, by.ID}, read.Access, string(filter)}
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
