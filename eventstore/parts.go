package eventstore

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/keytrail/keytrail/internal/backoff"
)

// parts are the readers of a span, in the merge's order: of what the index has, where that is
// less than to read the ledger, and of the rest on the ledger.
func (m *merge) parts(ctx context.Context, s Stream, sp span) []part {
	if sp.empty() {
		return nil
	}
	indexed := m.indexed(s, sp)
	rest := span{max(sp.after, indexed.upto), sp.upto}
	var parts []part
	if !indexed.empty() {
		parts = append(parts, m.readIndex(s, indexed))
	}
	if !rest.empty() {
		parts = append(parts, m.readLedger(ctx, s, rest))
	}
	if m.begin.Descending {
		slices.Reverse(parts)
	}
	return parts
}

// indexed is the beginning of sp that is to be read in the index.
func (m *merge) indexed(s Stream, sp span) span {
	if m.trail.index == nil || !m.worthIndex(s) {
		return span{}
	}
	return span{sp.after, min(sp.upto, m.trail.index.Indexed(s))}
}

// worthIndex reports whether the index gives what the filter may choose for less than the
// ledger, which gives all uses, a key's events or an organization's, and is slow to be read
// backwards. The index has positions of events alone: a replay of an organization's is better off
// with one consumer than with a request for each.
func (m *merge) worthIndex(s Stream) bool {
	f, page := &m.filter, m.work.bytes > 0
	if s == Events {
		return f.Key == "" && !f.Reach.All && (m.begin.Descending || page)
	}
	return m.begin.Descending || f.useQuery() != UseQuery{}
}

func (m *merge) readIndex(s Stream, sp span) part {
	if s == Events {
		return m.readOrgEvents(sp)
	}
	return m.readUses(sp)
}

// readUses reads messages of uses that the index names. A batch ends with what is wanted: the
// index is not kept waiting for a slow client.
func (m *merge) readUses(sp span) part {
	q := m.filter.useQuery()
	q.After, q.Upto, q.Descending = sp.after, sp.upto, m.begin.Descending
	var memory []Record
	return func(ctx context.Context) (b batch, err error) {
		b.records, b.last = memory[:0], true
		err = m.trail.index.Uses(ctx, q, func(raw *Raw) (more bool, err error) {
			before := len(b.records)
			if b.records, err = m.appendChosen(b.records, Uses, raw); err != nil {
				return false, err
			}
			if q.Descending {
				slices.Reverse(b.records[before:])
			}
			b.bytes, b.reached = b.bytes+len(raw.Data), raw.Position
			b.last = len(b.records) < m.work.records && b.bytes < batchBytes
			return b.last, nil
		})
		memory = b.records
		if b.last {
			b.reached = sp.end(q.Descending)
		}
		rest := sp.past(b.reached, q.Descending)
		q.After, q.Upto = rest.after, rest.upto
		return b, err
	}
}

// batchBytes bounds the messages of a batch that is read in the index.
const batchBytes = 256 << 10

// appendChosen appends what of a message is chosen.
func (m *merge) appendChosen(records []Record, s Stream, raw *Raw) ([]Record, error) {
	before := len(records)
	if s == Uses {
		records, err := appendUses(records, raw, m.filter.wants())
		return m.choose(records, before), err
	}
	e, err := readEvent(raw)
	if err != nil {
		return records, err
	}
	return m.choose(append(records, e), before), nil
}

// choose keeps of records[from:] those that are chosen and were not read before.
func (m *merge) choose(records []Record, from int) []Record {
	kept := from
	for i := from; i < len(records); i++ {
		r := &records[i]
		if !m.filter.Matches(r) || m.begin.covers(r) {
			continue
		}
		if kept < i { // a record is large
			records[kept] = *r
		}
		kept++
	}
	return records[:kept]
}

// readOrgEvents gives the positions of an organization's events: each is loaded when it is
// its turn, so that a page costs what it has.
func (m *merge) readOrgEvents(sp span) part {
	var memory []Record
	return func(ctx context.Context) (b batch, err error) {
		b.records, b.last = memory[:0], true
		err = m.trail.index.OrgEvents(ctx, m.filter.Reach.Org, sp.after, sp.upto, m.begin.Descending, func(p Position) bool {
			b.records, b.reached = append(b.records, Record{Position: p}), p
			b.last = len(b.records) < m.work.records
			return b.last
		})
		memory = b.records
		if b.last {
			b.reached = sp.end(m.begin.Descending)
		}
		sp = sp.past(b.reached, m.begin.Descending)
		return b, err
	}
}

// How many messages of a stream are decoded at once, and how many are asked for ahead, which wait
// as long as a slow client does. One of uses may have three hundred, and 64 KiB.
var (
	readAtOnce = [...]int{Events: 200, Uses: 8}
	prefetch   = [...]int{Events: 200, Uses: 32}
)

// query reads what the filter may choose of sp on the ledger. A page asks for little ahead.
func (m *merge) query(s Stream, sp span) Query {
	q := m.filter.query(s)
	q.After, q.Upto, q.Max, q.Prefetch = sp.after, sp.upto, readAtOnce[s], prefetch[s]
	if m.work.bytes > 0 {
		q.Max, q.Prefetch = min(q.Max, m.work.records), min(q.Prefetch, m.work.records)
	}
	return q
}

func (m *merge) readLedger(ctx context.Context, s Stream, sp span) part {
	switch {
	case sp.upto-sp.after <= fewMessages:
		return m.readSingly(s, sp)
	case m.begin.Descending && s == Events && m.filter.Key != "":
		return m.readHistory(sp)
	case m.begin.Descending:
		return m.readBackwards(s, sp)
	}
	return m.readForwards(ctx, s, sp)
}

// fewMessages are read one by one in less time than a consumer takes to come and go: what the
// index does not have yet is seldom more.
const fewMessages = 16

// readSingly asks for each message.
func (m *merge) readSingly(s Stream, sp span) part {
	q := m.filter.query(s)
	return func(ctx context.Context) (b batch, err error) {
		b.reached, b.last = sp.end(m.begin.Descending), true
		for at := sp.after; at < sp.upto; {
			raw, err := m.trail.ledger.get(ctx, s, at+1, jetstream.WithGetMsgSubject(q.subject()))
			if errors.Is(err, ErrNoSuchPosition) || err == nil && raw.Position > sp.upto {
				break
			}
			if err == nil {
				b.records, err = m.appendChosen(b.records, s, &raw)
			}
			if err != nil {
				return b, err
			}
			at, b.bytes = raw.Position, b.bytes+len(raw.Data)
		}
		if m.begin.Descending {
			slices.Reverse(b.records)
		}
		return b, nil
	}
}

// errStopped ends the reading of a source that nothing more is asked of.
var errStopped = errors.New("stopped")

// readForwards reads the ledger ascending.
func (m *merge) readForwards(ctx context.Context, s Stream, sp span) part {
	q := m.query(s, sp)
	next, stop := iter.Pull2(func(yield func(batch, error) bool) {
		err := m.trail.readAll(ctx, q, func(b Batch) error {
			if !yield(batch{records: m.choose(b.Records, 0), reached: b.Checkpoint.Position, bytes: b.Bytes}, nil) {
				return errStopped
			}
			return nil
		})
		if !errors.Is(err, errStopped) {
			yield(batch{reached: sp.upto, last: true}, err)
		}
	})
	m.stops = append(m.stops, stop)
	return func(context.Context) (batch, error) {
		b, err, _ := next()
		return b, err
	}
}

// readAll reads all that q finds up to q.Upto. The server that reads may lag behind the stream's
// leader, which is therefore asked whether something is left.
func (t *Trail) readAll(ctx context.Context, q Query, handle func(Batch) error) error {
	for {
		err := t.ledger.Read(ctx, q, func(b Batch) error {
			q.After = b.Checkpoint.Position
			return handle(b)
		})
		if err != nil || ctx.Err() != nil || q.After >= q.Upto {
			return cmp.Or(err, ctx.Err())
		}
		next, err := t.ledger.get(ctx, q.Stream, q.After+1, jetstream.WithGetMsgSubject(q.subject()))
		if errors.Is(err, ErrNoSuchPosition) || err == nil && next.Position > q.Upto {
			return nil
		}
		if err := cmp.Or(err, backoff.Sleep(ctx, backoff.Jitter(restartPause))); err != nil {
			return err
		}
	}
}

// The windows in which the ledger is read backwards, in positions, and how many messages one is to
// have: a page of what is new takes few, and each window takes a consumer of its own.
var (
	firstWindow = [...]Position{Events: 64, Uses: 4}
	fullWindow  = [...]int{Events: 1024, Uses: 32}
)

// readBackwards reads the ledger descending, window after window. The next one is wider where
// little is found; one with too much is given up for narrower ones.
func (m *merge) readBackwards(s Stream, sp span) part {
	width := firstWindow[s]
	var memory []Record
	return func(ctx context.Context) (b batch, err error) {
		for given := 0; ; given = b.bytes {
			window := sp.last(width)
			found := 0
			b, found, err = m.readWindow(ctx, s, window, memory[:0])
			memory, b.bytes = b.records, b.bytes+given
			if errors.Is(err, errStopped) {
				width = (window.upto - window.after) / 4
				continue
			}
			b.reached, b.last = window.after+1, window.after == sp.after
			sp.upto = window.after
			if found <= fullWindow[s]/2 {
				width *= 2
			}
			return b, err
		}
	}
}

// readWindow reads a span ascending, and turns it round. It stops at more than a full one.
func (m *merge) readWindow(ctx context.Context, s Stream, sp span, memory []Record) (b batch, found int, err error) {
	b.records = memory
	err = m.trail.readAll(ctx, m.query(s, sp), func(read Batch) error {
		if found += len(read.Messages); found > fullWindow[s] {
			return errStopped
		}
		b.records = append(b.records, m.choose(read.Records, 0)...)
		b.bytes += read.Bytes
		return nil
	})
	slices.Reverse(b.records)
	return b, found, err
}

// shortHistory is how many events of a key are read at once. A key has few of them, anywhere on the
// ledger, where window after window would be empty.
const shortHistory = 1000

// readHistory reads the events of one key descending.
func (m *merge) readHistory(sp span) part {
	var read part
	return func(ctx context.Context) (b batch, err error) {
		if read == nil {
			n, err := m.trail.ledger.count(ctx, *m.filter.keyRef())
			if err != nil {
				return b, err
			}
			if read = m.readBackwards(Events, sp); n <= shortHistory {
				read = m.readShortHistory(sp)
			}
		}
		return read(ctx)
	}
}

// readShortHistory reads all events of one key descending.
func (m *merge) readShortHistory(sp span) part {
	return func(ctx context.Context) (b batch, err error) {
		_, err = m.trail.ledger.Load(ctx, *m.filter.keyRef(), sp.after, func(r Record) {
			if r.Position <= sp.upto {
				b.records = append(b.records, r)
			}
		})
		b.records = m.choose(b.records, 0)
		slices.Reverse(b.records)
		b.reached, b.last = sp.after+1, true
		return b, err
	}
}
