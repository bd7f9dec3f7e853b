package projections

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// Tallies are uses added up in memory, so that a key which is used a thousand times a
// second is written once. They are filed in the table from time to time, whole:
//
//  1. The keys are sorted, and their rows written, some thousands in a transaction, which
//     also says in the catalog up to which message this filing goes and up to which key it
//     has come. After a crash the table holds a part of it.
//  2. The last transaction moves the mark on to that message, and the filing is over.
//
// A restart reads from the mark again. If a filing was cut off it adds up the very same
// messages first and files only the keys that lack, so that no use counts twice.
type tallies struct {
	at     map[[16]byte]int // key → its place in all
	all    []tally
	uses   int
	mark   eventstore.Mark // of the last message in it
	closed bool            // it is being filed: nothing more is added
}

// A tally is the uses of one key. Most are of one hour.
type tally struct {
	key, org [16]byte
	last     int64
	hour     int64
	counts   [len(counts{})]uint32
	hours    map[int64]counts // others than hour
	windows  map[int64]window // by length in milliseconds
}

// A filing is how far tallies came into the table: messages up to Mark, keys up to Key.
type filing struct {
	Mark eventstore.Mark `json:"mark"`
	Key  [16]byte        `json:"key"`
}

// What tallies hold at most: they are some 120 MB then, and reading them again after a
// crash takes a few seconds.
const (
	maxTallied = 1 << 20 // keys
	maxUses    = 4 << 20
)

// filedAtOnce is how many keys one transaction files: some five rows each.
const filedAtOnce = 2000

// patience is how many times longer than the last filing took the next one waits, so that
// following the uses leaves the processor to those who verify.
const patience = 20

// rush is how long the next filing waits at least when the last one had so many uses: a
// thousand and more show that many are in a hurry, a few that somebody may be looking.
func rush(uses int) time.Duration { return min(time.Duration(uses)*time.Millisecond, time.Second) }

func newTallies() *tallies { return &tallies{at: map[[16]byte]int{}} }

// full tells that the tallies must be filed before more is added.
func (t *tallies) full() bool { return t.closed || len(t.all) >= maxTallied || t.uses >= maxUses }

// add counts the uses among records.
func (t *tallies) add(records []eventstore.Record, mark eventstore.Mark) error {
	for i := range records {
		u, ok := records[i].Event.(domain.KeyUsed)
		if !ok || records[i].Position <= t.mark.Position {
			continue
		}
		key := u.Key.Bytes()
		at, known := t.at[key]
		if !known {
			at = len(t.all)
			t.at[key] = at
			t.all = append(t.all, tally{key: key, org: records[i].Org.Bytes(), hour: u.At.UnixMilli() / hourMillis})
		}
		if err := t.all[at].count(&u); err != nil {
			return fmt.Errorf("use %s: %w", records[i].Identity(), err)
		}
		t.uses++
	}
	if mark.Position > t.mark.Position {
		t.mark = mark
	}
	return nil
}

func (t *tally) count(u *domain.KeyUsed) error {
	at := u.At.UnixMilli()
	t.last = max(t.last, at)
	outcome := slices.Index(outcomes, u.Code)
	if outcome < 0 {
		return fmt.Errorf("unknown outcome %q: written by a newer version?", u.Code)
	}
	if hour := at / hourMillis; hour == t.hour {
		t.counts[outcome]++
	} else {
		t.countHour(hour, outcome)
	}
	if u.Code != domain.UseValid {
		return nil
	}
	for _, length := range u.Windows {
		if length <= 0 {
			return fmt.Errorf("a window of %d ms", length)
		}
		if t.windows == nil {
			t.windows = map[int64]window{}
		}
		t.windows[length] = t.windows[length].plus(window{at - at%length, 1})
	}
	return nil
}

func (t *tally) countHour(hour int64, outcome int) {
	if t.hours == nil {
		t.hours = map[int64]counts{}
	}
	c := t.hours[hour]
	c[outcome]++
	t.hours[hour] = c
}

// eachHour gives the counts by hour.
func (t *tally) eachHour(yield func(int64, counts) bool) {
	var c counts
	for i, n := range t.counts {
		c[i] = uint64(n)
	}
	if !yield(t.hour, c) {
		return
	}
	for hour, c := range t.hours {
		if !yield(hour, c) {
			return
		}
	}
}

// tally adds a batch up, and files what there is while there is no room.
func (g *group) tally(ctx context.Context, b eventstore.Batch) error {
	for {
		full, err := g.tallyIfRoom(b)
		if err != nil {
			return err
		}
		g.tell(g.tallied)
		if b.Pending == 0 && g.awaited.Load() > 0 {
			g.tell(g.hurry)
		}
		if !full {
			return nil
		}
		if err := g.persist(ctx, g.fileNow); err != nil {
			return err
		}
	}
}

// tell makes c readable, if it is not.
func (g *group) tell(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// tallyIfRoom tells that what there is must be filed first, and that b must be given again.
func (g *group) tallyIfRoom(b eventstore.Batch) (full bool, err error) {
	g.feed.Lock()
	defer g.feed.Unlock()
	r := g.runners[0]
	if f := r.filing; f != nil && b.Mark.Position > f.Mark.Position {
		// Here ends what a filing that was cut off had in it: it is finished first.
		had := slices.IndexFunc(b.Records, func(r eventstore.Record) bool { return r.Position > f.Mark.Position })
		return true, r.tallies.add(b.Records[:max(had, 0)], f.Mark)
	}
	if r.filing == nil && r.tallies.full() {
		return true, nil
	}
	return false, r.tallies.add(b.Records, b.Mark)
}

// file files the tallies again and again until ctx ends: soon if that takes little time or
// somebody waits, else seldom.
func (g *group) file(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.tallied:
		}
		begun, uses := time.Now(), g.unfiled()
		if err := g.persist(ctx, g.fileNow); err != nil {
			if ctx.Err() == nil {
				g.halt(ctx, err)
			}
			return
		}
		timer := time.NewTimer(min(max(patience*time.Since(begun), rush(uses)), time.Minute))
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-g.hurry:
		}
		timer.Stop()
	}
}

// unfiled is how many uses are not filed.
func (g *group) unfiled() int {
	g.feed.Lock()
	defer g.feed.Unlock()
	return g.runners[0].tallies.uses
}

// fileNow files what there is, and publishes it. Nothing is added meanwhile.
func (g *group) fileNow() error {
	g.feed.Lock()
	defer g.feed.Unlock()
	r := g.runners[0]
	unfinished := r.filing != nil && r.tallies.mark.Position < r.filing.Mark.Position
	if unfinished || r.tallies.mark.Position <= r.mark.Position {
		return nil
	}
	if err := g.fileAll(r); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	r.begin(r.tallies.mark)
	g.publish()
	return nil
}

// begin makes mark what r's table stands for, with nothing tallied beyond.
func (r *runner) begin(mark eventstore.Mark) {
	r.mark, r.filing = mark, nil
	if r.tallies != nil {
		r.tallies.reset(mark)
	}
}

// reset forgets all, for what comes after mark. Memory that was of use is kept: to grow it
// again would copy a hundred megabytes.
func (t *tallies) reset(mark eventstore.Mark) {
	if len(t.all) <= cap(t.all)/4 {
		*t = *newTallies()
	}
	clear(t.at)
	clear(t.all)
	*t = tallies{at: t.at, all: t.all[:0], mark: mark}
}

// fileAll brings the tallies of r into its table. If it fails it can be tried again.
func (g *group) fileAll(r *runner) error {
	t := r.tallies
	t.closed = true // places change
	slices.SortFunc(t.all, func(a, b tally) int { return bytes.Compare(a.key[:], b.key[:]) })
	rest := t.all
	if r.filing != nil {
		rest = rest[after(rest, r.filing.Key):]
	}
	for len(rest) > filedAtOnce {
		f := &filing{Mark: t.mark, Key: rest[filedAtOnce-1].key}
		if err := g.fileSome(r, rest[:filedAtOnce], r.mark, f); err != nil {
			return err
		}
		r.filing, rest = f, rest[filedAtOnce:]
	}
	return g.fileSome(r, rest, t.mark, nil)
}

// after is how many of the sorted tallies are of keys up to key.
func after(sorted []tally, key [16]byte) int {
	n, found := slices.BinarySearchFunc(sorted, key, func(t tally, key [16]byte) int { return bytes.Compare(t.key[:], key[:]) })
	if found {
		n++
	}
	return n
}

func (g *group) fileSome(r *runner, some []tally, mark eventstore.Mark, f *filing) error {
	return g.db.Update(func(tx *badger.Txn) error {
		if err := storeTallies(rows{tx: tx, table: r.table}, some); err != nil {
			return fmt.Errorf("projection %s: %w", r.name, err)
		}
		if r.building {
			return nil
		}
		return r.catalogue(tx, mark, f)
	})
}
