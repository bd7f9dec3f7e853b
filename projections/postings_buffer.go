package projections

import (
	"bytes"
	"maps"
	"slices"
	"sync"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// A postingsBuffer is the posting lists of the messages after a position, in memory: those that
// are not in the rows yet. The engine adds to it while queries read it.
type postingsBuffer struct {
	after eventstore.Position

	mu    sync.Mutex // held for a look-up or while a batch is added
	end   eventstore.Position
	heads map[term]int32 // term → its last posting
	all   []posting      // only appended to
}

// A posting is one position in one list: a few bytes, and nothing in them that the garbage
// collector has to follow.
type posting struct {
	offset uint32 // its position is so much after the buffer's
	before int32  // the posting before it in its list, -1: there is none
}

// What a buffer of posting lists holds at most: about 64 MB of postings, of which a use makes
// two or three, and as much for the terms. It is full at about the same number of uses as the
// usage buffer, see maxBufferedUses.
const (
	postingsPerUse   = 2
	maxBufferedTerms = 1 << 20
	maxBufferedSpan  = 1 << 31 // positions: an offset has 32 bits
)

func newPostingsBuffer(after eventstore.Position) *postingsBuffer {
	return &postingsBuffer{after: after, end: after, heads: map[term]int32{}}
}

// full reports whether it must be flushed before more is added.
func (b *postingsBuffer) full() bool {
	return len(b.all) >= postingsPerUse*maxBufferedUses || len(b.heads) >= maxBufferedTerms || b.end-b.after >= maxBufferedSpan
}

// addUses files the messages of a batch under the keys, organizations and outcomes of their uses.
func (b *postingsBuffer) addUses(batch eventstore.Batch) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range batch.Records {
		r := &batch.Records[i]
		code := domain.UseNotFound // that of secrets of no key
		if u, ok := r.Event.(domain.KeyUsed); ok {
			code = u.Code
			b.add(keyTerm(u.Key), r.Position)
		}
		b.add(orgTerm(r.Org), r.Position)
		if t, exists := outcomeTerm(code); exists {
			b.add(t, r.Position)
		}
	}
	b.end = max(b.end, batch.Checkpoint.Position)
}

// add files a message under a term, once.
func (b *postingsBuffer) add(t term, p eventstore.Position) {
	new := posting{offset: uint32(p - b.after), before: -1}
	if head, known := b.heads[t]; known {
		if b.all[head].offset == new.offset {
			return
		}
		new.before = head
	}
	b.heads[t] = int32(len(b.all))
	b.all = append(b.all, new)
}

// reached is the end of what it has taken in.
func (b *postingsBuffer) reached() eventstore.Position {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.end
}

// positions are those of a list in (after, upto], ascending.
func (b *postingsBuffer) positions(t term, after, upto eventstore.Position) (found []eventstore.Position) {
	b.mu.Lock()
	at, known := b.heads[t]
	all := b.all // what is there does not change
	b.mu.Unlock()
	if !known {
		return nil
	}
	for ; at >= 0; at = all[at].before {
		p := b.after + eventstore.Position(all[at].offset)
		if p <= after {
			break
		}
		if p <= upto {
			found = append(found, p)
		}
	}
	slices.Reverse(found)
	return found
}

// terms are those that it has a list of, sorted.
func (b *postingsBuffer) terms() []term {
	return slices.SortedFunc(maps.Keys(b.heads), func(t, u term) int { return bytes.Compare(t[:], u[:]) })
}

// A postingsFlush writes a buffer to the rows: bucket by bucket, and in each by the order of the
// terms. What was written stays right if it is cut off: it is skipped when it comes again.
type postingsFlush struct {
	buffer *postingsBuffer
	terms  []term
	after  eventstore.Position // the bucket that is being written begins after it
	next   int                 // the term that is
}

func (b *postingsBuffer) flush() *postingsFlush {
	return &postingsFlush{buffer: b, terms: b.terms(), after: b.after}
}

// write writes limit rows at most and reports whether they are the last.
func (f *postingsFlush) write(r rowMap, limit int) (done bool, err error) {
	w := postingsWriter{rowMap: r, limit: limit}
	for ; f.after < f.buffer.end; f.after, f.next = f.bucketEnd(), 0 {
		for ; f.next < len(f.terms); f.next++ {
			t := f.terms[f.next]
			positions := f.buffer.positions(t, f.after, f.bucketEnd())
			if len(positions) == 0 {
				continue
			}
			if whole, err := w.add(t, positions); err != nil || !whole {
				return false, err
			}
		}
	}
	return true, nil
}

// bucketEnd is the last position of the bucket that is being written.
func (f *postingsFlush) bucketEnd() eventstore.Position { return (f.after + 1) | bucketMask }
