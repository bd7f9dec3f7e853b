package projections

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	badger "github.com/dgraph-io/badger/v4"
	"github.com/google/uuid"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/internal/backoff"
)

// Uses age out, and what they cost in a month must not be forgotten with them. So the meters of the
// present month and the last one are kept beside the ledger, before that:
//
//  1. A process whose table has come further than what is kept puts its meters under a new name, in
//     parts, as of one message of uses. After a crash they count for nothing.
//  2. It puts a head, which names them, on the condition that the one before is still there. Of
//     several processes one succeeds.
//  3. What the heads before named is deleted. After a crash the next one does it.
//
// A table that has not come as far takes the meters over, and counts the uses after that message.

const (
	keptMonthsHead = "head"
	// keepMonthsInterval is how often it is looked whether meters are to be kept: often enough for a share of
	// --uses-max-bytes that is used up in minutes.
	keepMonthsInterval = 20 * time.Second
	// keptShare is into how many parts what the ledger keeps is divided: when one is not covered, meters are kept. So
	// what ages out is covered as long as uses do not fill the rest before the next look.
	keptShare = 4
	// longestKept is the age after which uses are of no month that is kept.
	longestKept = 62 * 24 * time.Hour
	// keptPart is how many meters a message has: 29 bytes each, less than 60 KiB.
	keptPart = 2000
)

const keptMeterSize = 1 + 4 + 1 + idSize + 8 // a row and its value

// A keptHead says which meters are kept.
type keptHead struct {
	Name   string                `json:"name"`
	Parts  int                   `json:"parts"`
	From   domain.Month          `json:"from"`   // the first month
	Stored int64                 `json:"stored"` // the ledger's time then, in milliseconds
	After  eventstore.Checkpoint `json:"after"`  // the last message of uses that is in them

	revision eventstore.Position
}

// summedMonths are those of which a table has taken the meters over: what uses up to a position cost in
// them is not counted again.
type summedMonths struct {
	From domain.Month        `json:"from"`
	Upto eventstore.Position `json:"up_to"`
}

func (s summedMonths) has(at eventstore.Position, m domain.Month) bool {
	return at <= s.Upto && m >= s.From
}

func loadSummedMonths(r rowMap) (s summedMonths, err error) {
	_, err = r.get(row(rowSummed), func(v []byte) error { return json.Unmarshal(v, &s) })
	return s, err
}

// loadKeptHead gives the head. If it is of another ledger, or there is none, nothing is kept.
func loadKeptHead(ctx context.Context, l *eventstore.Ledger) (h keptHead, err error) {
	state, err := l.State(ctx, eventstore.Months, keptMonthsHead)
	if err != nil || state.Revision == 0 {
		return h, err
	}
	if err := json.Unmarshal(state.Data, &h); err != nil {
		return h, fmt.Errorf("read which months are kept: %w", err)
	}
	same, err := l.IsUse(ctx, h.After)
	if !same {
		h = keptHead{}
	}
	h.revision = state.Revision
	return h, err
}

// keepMonths keeps the meters when it is time, until ctx ends.
func (s *Store) keepMonths(ctx context.Context, l *eventstore.Ledger) {
	for backoff.Sleep(ctx, keepMonthsInterval) == nil {
		if err := s.keepMonthsOnce(ctx, l); err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "what uses of this month cost is not kept yet; uses that age out meanwhile are lost to a rebuild", "err", err)
		}
	}
}

func (s *Store) keepMonthsOnce(ctx context.Context, l *eventstore.Ledger) error {
	kept, err := l.UsesRetention(ctx)
	if err != nil || !mayMatter(&kept) {
		return err
	}
	head, err := loadKeptHead(ctx, l)
	if err != nil || !due(&kept, &head, time.Now()) {
		return err
	}
	now := s.usage.snapshot()
	defer now.release()
	entry, err := readCatalog(now.tx, "usage")
	if err != nil || entry.Checkpoint == nil || entry.Flush != nil || entry.Checkpoint.Position <= head.After.Position {
		return err
	}
	return keepMeters(ctx, l, rows{tx: now.tx, table: entry.Table}, head.revision, *entry.Checkpoint)
}

// mayMatter reports whether uses of a month that is kept can age out.
func mayMatter(r *eventstore.Retention) bool { return r.MaxBytes > 0 || r.MaxAge < longestKept }

// due reports whether too much of what the ledger keeps is not covered by what head names.
func due(r *eventstore.Retention, head *keptHead, now time.Time) bool {
	if r.Last < r.First {
		return false
	}
	after, since := max(head.After.Position, r.First-1), r.Oldest
	if head.After.Position >= r.First-1 && head.Stored > 0 {
		since = time.UnixMilli(head.Stored)
	}
	uncovered := float64(r.Last-min(after, r.Last)) / float64(r.Last-r.First+1) * float64(r.Bytes)
	return r.MaxBytes > 0 && uncovered*keptShare >= float64(r.MaxBytes) || r.MaxAge < longestKept && now.Sub(since)*keptShare >= r.MaxAge
}

// keepMeters carries out the steps above with rows that stand for the uses up to a checkpoint.
func keepMeters(ctx context.Context, l *eventstore.Ledger, r rows, before eventstore.Position, at eventstore.Checkpoint) error {
	clock, err := loadUsageClock(r)
	if err != nil {
		return err
	}
	h := keptHead{Name: fmt.Sprintf("%020d-%s", at.Position, uuid.NewString()), From: domain.MonthAt(clock.storedAt()) - 1, Stored: clock.stored, After: at}
	if h.Parts, err = putMeters(ctx, l, r, h.Name, h.From); err == nil {
		err = putKeptHead(ctx, l, before, &h)
	}
	if errors.Is(err, eventstore.ErrConflict) {
		return nil // another process was first; the next one that succeeds deletes what is left of this
	}
	if err != nil {
		return err // the head is there, perhaps
	}
	return l.DeleteKeptMonths(ctx, func(name string) bool { return name < h.Name[:20] })
}

func putKeptHead(ctx context.Context, l *eventstore.Ledger, before eventstore.Position, h *keptHead) error {
	data, err := json.Marshal(h)
	if err == nil {
		_, err = l.PutState(ctx, eventstore.Months, keptMonthsHead, before, data)
	}
	return err
}

// putMeters puts the meters from a month on, in parts.
func putMeters(ctx context.Context, l *eventstore.Ledger, r rows, name string, from domain.Month) (parts int, err error) {
	var part []byte
	put := func() error {
		if len(part) == 0 {
			return nil
		}
		_, err := l.PutState(ctx, eventstore.Months, keptPartName(name, parts), 0, part)
		parts, part = parts+1, part[:0]
		return err
	}
	first := Meter{Month: from}.row()
	err = r.each([]byte{rowMonth}, func(row, value []byte) error {
		if bytes.Compare(row, first) < 0 {
			return nil
		}
		part = append(append(part, row...), value...)
		if len(part) < keptPart*keptMeterSize {
			return nil
		}
		return put()
	})
	if err == nil {
		err = put()
	}
	return parts, err
}

func keptPartName(name string, part int) string { return fmt.Sprintf("%s.%d", name, part) }

// takeKeptMonths lets a table of usage take over what is kept, if it has not come as far itself.
func (e *engine) takeKeptMonths(ctx context.Context, l *eventstore.Ledger, t table) error {
	usage, counts := t.(*usageTable)
	if !counts {
		return nil
	}
	for missing := eventstore.Position(0); ; {
		head, err := loadKeptHead(ctx, l)
		if err != nil || head.After.Position <= e.counted(usage) {
			return err
		}
		parts, err := loadKeptParts(ctx, l, &head)
		switch {
		case err != nil:
			return err
		case parts != nil:
			e.write.Lock()
			defer e.write.Unlock()
			return usage.takeMeters(&head, parts)
		case head.revision == missing:
			e.store.log.ErrorContext(ctx, "what uses of this month cost was deleted; those that the ledger has are counted", "stream", eventstore.Months.String())
			return nil
		}
		missing = head.revision // another one has taken its place meanwhile
	}
}

// counted is up to which use t has the meters of months.
func (e *engine) counted(t *usageTable) eventstore.Position {
	e.write.Lock()
	defer e.write.Unlock()
	return max(t.reached().Position, t.buffer.summed.Upto)
}

// loadKeptParts gives nil if not all are there.
func loadKeptParts(ctx context.Context, l *eventstore.Ledger, h *keptHead) ([][]byte, error) {
	parts := make([][]byte, h.Parts)
	for i := range parts {
		state, err := l.State(ctx, eventstore.Months, keptPartName(h.Name, i))
		if err != nil {
			return nil, err
		}
		if state.Revision == 0 {
			return nil, nil
		}
		parts[i] = state.Data
	}
	return parts, nil
}

// takeMeters makes the meters those of parts. After a crash the table has some of them, and the next start
// takes them all: they count when the last transaction says up to where they go.
func (t *usageTable) takeMeters(h *keptHead, parts [][]byte) error {
	for _, part := range parts {
		for len(part) > 0 {
			n := min(len(part), keptMeterSize*flushLimit(t.db))
			if err := t.db.Update(func(tx *badger.Txn) error { return setMeters(t.rows(tx), part[:n]) }); err != nil {
				return err
			}
			part = part[n:]
		}
	}
	summed := summedMonths{h.From, h.After.Position}
	value, err := json.Marshal(summed)
	if err != nil {
		panic(err) // numbers
	}
	if err := t.db.Update(func(tx *badger.Txn) error { return t.rows(tx).set(row(rowSummed), value) }); err != nil {
		return err
	}
	t.buffer.takeOver(summed)
	if t.unfinished != nil {
		t.unfinished.Months = 0 // of what it wrote nothing is left
	}
	return nil
}

// takeOver forgets what is in the sums: all uses in the buffer come before their end.
func (b *usageBuffer) takeOver(s summedMonths) {
	b.summed = s
	maps.DeleteFunc(b.months, func(m Meter, _ int64) bool { return m.Month >= s.From })
	b.sortMonths()
}

func setMeters(r rows, part []byte) error {
	for ; len(part) >= keptMeterSize; part = part[keptMeterSize:] {
		at := keptMeterSize - 8
		if err := r.set(part[:at], part[at:keptMeterSize]); err != nil {
			return err
		}
	}
	return nil
}
