package projections

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	badger "github.com/dgraph-io/badger/v4"
	"pgregory.net/rapid"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// tb is what a test and a check of a property have in common.
type tb interface {
	rapid.TB
	Cleanup(func())
	Context() context.Context
}

// indexed is a store and all that it was given, which is what a full scan would find.
type indexed struct {
	s    *Store
	uses []eventstore.Batch // one message each
}

func openIndexed(t tb, dir string) *indexed {
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	x := &indexed{s: s}
	x.restart(t)
	return x
}

// newDir is a directory for one check of a property.
func newDir(t tb, in string) string {
	dir, err := os.MkdirTemp(in, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// restart leaves no more than a crash of the process does.
func (x *indexed) restart(t tb) {
	for _, e := range x.s.engines {
		e.tables = nil
		if err := e.loadCatalog(); err != nil {
			t.Fatal(err)
		}
		e.publish()
	}
}

// message is a message of uses at p.
func message(p eventstore.Position, uses ...domain.KeyUsed) (b eventstore.Batch) {
	raw := eventstore.Raw{Position: p, Subject: "keytrail.uses", Header: map[string][]string{"Nats-Msg-Id": {fmt.Sprint("m", p)}, "B": {"2"}},
		Data: bytes.Repeat([]byte{byte(p)}, int(p%3)*600), Stored: time.Unix(0, int64(p)).UTC()}
	b.Messages = []eventstore.Raw{raw}
	for i, u := range uses {
		b.Records = append(b.Records, eventstore.Record{Stream: eventstore.Uses, Position: p, Index: i, Org: orgOf(u.Key), Subject: string(u.Key), Event: u})
	}
	b.Checkpoint.Position = p
	return b
}

func testKey(n int) domain.KeyID { return domain.NewKeyID("", fmt.Sprint("indexed", n)) }
func testOrg(n int) domain.OrgID { return domain.NewOrgID(fmt.Sprint("indexed", n)) }

// orgOf is the organization of a test's key.
func orgOf(id domain.KeyID) domain.OrgID { return testOrg(int(id.Bytes()[3] % 7)) }

// join is several batches as one.
func join(all []eventstore.Batch) (b eventstore.Batch) {
	for _, one := range all {
		b.Messages, b.Records, b.Checkpoint = append(b.Messages, one.Messages...), append(b.Records, one.Records...), one.Checkpoint
	}
	return b
}

// feed applies batches from what the engine has reached on.
func (x *indexed) feed(t tb, stream eventstore.Stream, all []eventstore.Batch) {
	e := x.s.engines[stream]
	b := join(all).After(e.oldest().Position)
	if len(b.Messages) == 0 {
		return
	}
	if err := e.handle(t.Context(), b); err != nil {
		t.Fatal(err)
	}
}

// scan is what an index should find.
func (x *indexed) scan(q eventstore.UseQuery) (found []eventstore.Position) {
	terms := x.s.termsOf(q)
	for _, b := range x.uses {
		p := b.Checkpoint.Position
		has := map[term]bool{}
		for _, r := range b.Records {
			u := r.Event.(domain.KeyUsed)
			has[keyTerm(u.Key)], has[orgTerm(r.Org)] = true, true
			if u.Code != domain.UseValid {
				t, _ := outcomeTerm(u.Code)
				has[t] = true
			}
		}
		some := !slices.ContainsFunc(terms, func(t term) bool { return !has[t] })
		if some && q.After < p && p <= q.Upto {
			found = append(found, p)
		}
	}
	if q.Descending {
		slices.Reverse(found)
	}
	return found
}

func (x *indexed) check(t tb, q eventstore.UseQuery) {
	var found []eventstore.Position
	err := x.s.Uses(t.Context(), q, func(m *eventstore.Raw) (bool, error) {
		found = append(found, m.Position)
		i, _ := slices.BinarySearchFunc(x.uses, m.Position, func(b eventstore.Batch, p eventstore.Position) int { return int(b.Checkpoint.Position) - int(p) })
		if want := x.uses[i].Messages[0]; want.Subject != m.Subject || !want.Stored.Equal(m.Stored) || !bytes.Equal(want.Data, m.Data) || fmt.Sprint(want.Header) != fmt.Sprint(m.Header) {
			t.Fatalf("the copy of %d is %+v, want %+v", m.Position, m, want)
		}
		return true, nil
	})
	if want := x.scan(q); err != nil || !slices.Equal(found, want) {
		t.Fatalf("%+v finds %v, %v; want %v", q, found, err, want)
	}
}

func (x *indexed) rows(t tb) map[string]string {
	all := map[string]string{}
	if err := x.s.Dump(func(name string, key, value []byte) error {
		all[fmt.Sprintf("%s %x", name, key)] = fmt.Sprintf("%x", value)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// Whatever the messages, and wherever batches, flushes, ends of the process and crashes in the
// midst of a flush fall, the index finds what a full scan does, and its rows are those of a read
// model that was built at once.
func TestTheIndexFindsWhatAFullScanDoes(t *testing.T) {
	rows, uses, chunk, steps := flushRows, maxBufferedUses, maxChunk, maxSteps
	defer func() { flushRows, maxBufferedUses, maxChunk, maxSteps = rows, uses, chunk, steps }()
	maxChunk = 16
	dirs := t.TempDir()
	Fewer(t, 30)
	rapid.Check(t, func(t *rapid.T) {
		x, fresh := openIndexed(t, newDir(t, dirs)), openIndexed(t, newDir(t, dirs))
		flushRows = rapid.IntRange(7, 40).Draw(t, "rows in a transaction")
		maxBufferedUses = rapid.SampledFrom([]int{3, 100, 10_000}).Draw(t, "buffered")
		maxSteps = rapid.SampledFrom([]int{3, 10_000}).Draw(t, "steps")
		steps := rapid.SampledFrom([]uint64{1, 1, 1, 2, 200, 40_000, 300_000, 1 << bucketBits})
		keys, code := rapid.IntRange(0, 30), rapid.SampledFrom([]domain.Outcome{domain.UseValid, domain.UseValid, domain.UseRevoked, domain.UseExpired})
		var end eventstore.Position
		given := 0
		messages := func(n int) {
			for range n {
				end += eventstore.Position(steps.Draw(t, "step"))
				var all []domain.KeyUsed
				for range rapid.IntRange(0, 4).Draw(t, "uses") {
					all = append(all, domain.KeyUsed{Key: testKey(keys.Draw(t, "key")), Code: code.Draw(t, "code"), At: time.UnixMilli(int64(end))})
				}
				x.uses = append(x.uses, message(end, all...))
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"a batch": func(t *rapid.T) {
				messages(rapid.IntRange(1, 20).Draw(t, "messages"))
				x.feed(t, eventstore.Uses, x.uses)
				given = len(x.uses)
			},
			"a long run": func(t *rapid.T) {
				for range 50 {
					end++
					x.uses = append(x.uses, message(end, domain.KeyUsed{Key: testKey(1), Code: domain.UseValid, At: time.UnixMilli(int64(end))}))
				}
				x.feed(t, eventstore.Uses, x.uses)
				given = len(x.uses)
			},
			"a flush": func(t *rapid.T) {
				if err := x.s.engines[eventstore.Uses].flush(); err != nil {
					t.Fatal(err)
				}
			},
			"the process ends": func(t *rapid.T) {
				x.restart(t)
				x.feed(t, eventstore.Uses, x.uses)
			},
			"a crash in a flush": func(t *rapid.T) {
				p := x.s.engines[eventstore.Uses].tables[1].(*postingsTable)
				f := p.unflushed.flush()
				for range rapid.IntRange(1, 4).Draw(t, "transactions") {
					if err := p.db.Update(func(tx *badger.Txn) error { _, err := f.write(p.rows(tx), flushRows); return err }); err != nil {
						t.Fatal(err)
					}
				}
				x.restart(t)
				cut := rapid.IntRange(0, given).Draw(t, "read again")
				if cut > 0 {
					x.feed(t, eventstore.Uses, x.uses[:cut])
				}
				x.feed(t, eventstore.Uses, x.uses)
			},
			"": func(t *rapid.T) {
				q := eventstore.UseQuery{Upto: x.s.Indexed(eventstore.Uses), Descending: rapid.Bool().Draw(t, "descending")}
				if q.Upto != end {
					t.Fatalf("indexed up to %d, want %d", q.Upto, end)
				}
				if rapid.Bool().Draw(t, "of a key") {
					q.Key = testKey(keys.Draw(t, "key"))
				}
				if rapid.Bool().Draw(t, "of an organization") {
					q.Org = testOrg(rapid.IntRange(0, 8).Draw(t, "organization"))
					if q.Key != "" {
						q.Org = orgOf(q.Key)
					}
				}
				if rapid.Bool().Draw(t, "of an outcome") {
					q.Code = code.Draw(t, "code")
				}
				if len(x.s.termsOf(q)) == 0 && int(end) != len(x.uses) {
					return // a stream has no gaps, of which this test makes many to come to other buckets
				}
				if rapid.Bool().Draw(t, "all") {
					x.check(t, q)
					return
				}
				q.After = eventstore.Position(rapid.Uint64Range(0, uint64(end)).Draw(t, "after"))
				q.Upto = eventstore.Position(rapid.Uint64Range(0, uint64(end)).Draw(t, "up to"))
				x.check(t, q)
			},
		})
		if len(x.uses) > 0 {
			fresh.feed(t, eventstore.Uses, x.uses)
		}
		for _, s := range []*Store{x.s, fresh.s} {
			if err := s.engines[eventstore.Uses].flush(); err != nil {
				t.Fatal(err)
			}
		}
		sameRows(t, x.rows(t), fresh.rows(t))
	})
}

// Of a key of another organization no message is touched: neither time nor cursor tells of its uses.
func TestAForeignKeyIsNotLookedFor(t *testing.T) {
	x := openIndexed(t, t.TempDir())
	ours, theirs := testKey(1), testKey(2)
	for n := 3; orgOf(theirs) == orgOf(ours); n++ {
		theirs = testKey(n)
	}
	created := domain.KeyCreated{ID: ours, Org: orgOf(ours), Keyspace: "default", Header: domain.Header{At: time.Unix(1, 0)}}
	x.feed(t, eventstore.Events, []eventstore.Batch{{Messages: []eventstore.Raw{{Position: 1}}, Checkpoint: eventstore.Checkpoint{Position: 1},
		Records: []eventstore.Record{{Position: 1, Org: orgOf(ours), Subject: string(ours), Type: domain.TypeOf(created), Event: created}}}})
	x.uses = []eventstore.Batch{message(1, domain.KeyUsed{Key: theirs, Code: domain.UseValid}), message(2, domain.KeyUsed{Key: ours, Code: domain.UseValid})}
	x.feed(t, eventstore.Uses, x.uses)
	for key, want := range map[domain.KeyID][]term{ours: {keyTerm(ours)}, theirs: {orgTerm(orgOf(ours))}} {
		q := eventstore.UseQuery{Org: orgOf(ours), Key: key, Upto: 2}
		if terms := x.s.termsOf(q); !slices.Equal(terms, want) {
			t.Errorf("%s is looked for by %x, want %x", key, terms, want)
		}
		x.check(t, q)
		err := x.s.Uses(t.Context(), q, func(m *eventstore.Raw) (bool, error) {
			if m.Position == 1 {
				t.Errorf("the search for %s comes to a message that has only uses of another organization", key)
			}
			return true, nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}

func sameRows(t tb, a, b map[string]string) {
	for k := range a {
		if a[k] != b[k] {
			t.Errorf("row %s is %s and %s", k, a[k], b[k])
		}
	}
	if len(a) != len(b) {
		t.Errorf("%d rows and %d", len(a), len(b))
	}
}

// A reader has everything up to where the index says it ends, though the buffer is emptied into
// the rows before those are published.
func TestNothingIsMissedWhileItIsFlushed(t *testing.T) {
	before := maxBufferedUses
	defer func() { maxBufferedUses = before }()
	maxBufferedUses = 60
	x := openIndexed(t, t.TempDir())
	e := x.s.engines[eventstore.Uses]
	e.publish()
	key := testKey(1)
	var over atomic.Bool
	failed := make(chan error, 2)
	for _, descending := range []bool{false, true} {
		go func() {
			for n := 0; !over.Load() || n == 0; n++ {
				q := eventstore.UseQuery{Key: key, Upto: x.s.Indexed(eventstore.Uses), Descending: descending}
				found := eventstore.Position(0)
				err := x.s.Uses(context.Background(), q, func(*eventstore.Raw) (bool, error) { found++; return true, nil })
				if err != nil || found != q.Upto {
					failed <- fmt.Errorf("found %d of %d, %v", found, q.Upto, err)
					return
				}
			}
			failed <- nil
		}()
	}
	for p := eventstore.Position(1); p < 3000; {
		var all []eventstore.Batch
		for range 10 {
			all = append(all, message(p, domain.KeyUsed{Key: key, Code: domain.UseValid}))
			p++
		}
		if err := e.handle(t.Context(), join(all)); err != nil {
			t.Fatal(err)
		}
		if p%7 == 0 {
			if err := e.flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	over.Store(true)
	for range 2 {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
}

// What has aged out is not found, and its rows go: those of messages at once, and posting lists
// with their bucket.
func TestTheIndexForgetsWhatIsGone(t *testing.T) {
	before := pruneRows
	defer func() { pruneRows = before }()
	pruneRows = 7
	x := openIndexed(t, t.TempDir())
	const bucket = 1 << bucketBits
	for _, p := range []eventstore.Position{1, 2, 3, bucket - 1, bucket, bucket + 1, 2*bucket - 1, 2 * bucket, 2*bucket + 1, 2*bucket + 5, 2*bucket + 6, 3 * bucket} {
		x.uses = append(x.uses, message(p, domain.KeyUsed{Key: testKey(1), Code: domain.UseRevoked, At: time.Unix(0, 0)}))
	}
	e := x.s.engines[eventstore.Uses]
	x.feed(t, eventstore.Uses, x.uses)
	if err := e.flush(); err != nil {
		t.Fatal(err)
	}
	for _, gone := range []eventstore.Position{0, 2, bucket, 2*bucket + 4, 3 * bucket} {
		if err := e.pruneUpTo(t.Context(), gone); err != nil {
			t.Fatal(err)
		}
		e.tables[0].state().checkpoint.Position++ // so that it is published
		e.publish()
		x.uses = slices.DeleteFunc(x.uses, func(b eventstore.Batch) bool { return b.Checkpoint.Position <= gone })
		for _, descending := range []bool{false, true} {
			x.check(t, eventstore.UseQuery{Key: testKey(1), Code: domain.UseRevoked, Upto: 3 * bucket, Descending: descending})
		}
		copies, buckets := 0, map[string]bool{}
		for row := range x.rows(t) {
			if strings.HasPrefix(row, "messages 6d") {
				copies++
			}
			if strings.HasPrefix(row, "postings 70") {
				buckets[row[:len("postings 7000000000")]] = true
			}
		}
		if kept := 4 - int((gone+1)/bucket); copies != len(x.uses) || len(buckets) != kept {
			t.Errorf("up to %d, %d copies are left and the buckets %v; want %d and %d", gone, copies, buckets, len(x.uses), kept)
		}
	}
}
