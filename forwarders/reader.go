package forwarders

import (
	"context"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/forwarders/transport"
	"github.com/keytrail/keytrail/internal/backoff"
)

// An item is an event on its way.
type item struct {
	*written
	after  eventstore.Cursor   // where the sink is once this and all before it are done
	letter eventstore.Position // of the dead letter that it is; 0: it is none
}

// A batch is what is sent at once: a message of the router.
type batch struct {
	items []item // that are not done
	bytes int
	begun time.Time         // when the first item was put into it
	after eventstore.Cursor // where the sink is once all are done
	end   bool              // nothing comes after it
}

// A subscriber gives a pass's batches to the router, the next once the one before was acknowledged.
type subscriber struct{ pass *pass }

// Subscribe begins to read. It ends with ctx, or with the end of a replay.
func (s *subscriber) Subscribe(ctx context.Context, _ string) (<-chan *message.Message, error) {
	batches, out := make(chan *batch), make(chan *message.Message)
	r := &reader{pass: s.pass, limits: s.pass.receiver.sender.Limits(), share: s.pass.tenure.share(), out: batches}
	go r.run(ctx)
	go s.give(ctx, batches, out)
	return out, nil
}

// Close does nothing: reading ends with the subscription's context.
func (s *subscriber) Close() error { return nil }

type batchKey struct{}

// give sends batches on. While one is under way the reader makes the next.
func (s *subscriber) give(ctx context.Context, batches <-chan *batch, out chan<- *message.Message) {
	defer close(out)
	for b := range batches {
		for !s.giveOne(ctx, b, out) {
			if backoff.Sleep(ctx, backoff.Jitter(time.Second)) != nil {
				return
			}
		}
	}
}

// giveOne reports whether b was acknowledged.
func (s *subscriber) giveOne(ctx context.Context, b *batch, out chan<- *message.Message) bool {
	m := message.NewMessage(s.pass.name, nil)
	m.SetContext(context.WithValue(ctx, batchKey{}, b))
	if len(b.items) > 0 {
		middleware.SetCorrelationID(b.items[0].event.ID, m)
	}
	select {
	case out <- m:
	case <-ctx.Done():
		return false
	}
	select {
	case <-m.Acked():
		return true
	case <-m.Nacked():
	case <-ctx.Done():
	}
	return false
}

// A reader makes batches of what a pass is to forward. It is one goroutine's.
type reader struct {
	pass   *pass
	limits transport.Limits
	share  int // bytes that a batch may have, whatever limits says
	out    chan<- *batch
	cursor eventstore.Cursor // after what was taken from the trail
	sums   *sums             // nil: uses are not summed up
	batch  *batch            // that is being filled; nil: none
	atEnd  bool              // of the trail, when it last looked
	done   bool              // the end of a replay was reached
}

// The pauses of a reader: after an error, which it gives up at no time.
const (
	firstPause   = time.Second
	longestPause = 30 * time.Second
)

// run reads until ctx or the pass ends.
func (r *reader) run(ctx context.Context) {
	defer close(r.out)
	step := r.load
	for pause := firstPause; ctx.Err() == nil && !r.done; {
		err := step(ctx)
		if err == nil {
			step, pause = r.read, firstPause
			continue
		}
		if ctx.Err() != nil {
			return
		}
		r.pass.log().WarnContext(ctx, "what a sink is to get was not read; will try again", "err", err)
		if backoff.Sleep(ctx, backoff.Jitter(pause)) != nil {
			return
		}
		pause = min(2*pause, longestPause)
	}
}

func (r *reader) load(ctx context.Context) error {
	if err := r.pass.load(ctx); err != nil {
		return err
	}
	r.pass.mu.Lock()
	r.cursor = r.pass.checkpoint.Cursor
	r.pass.mu.Unlock()
	if r.pass.sink.Uses.Mode == usesSummed {
		r.sums = &sums{}
	}
	return nil
}

// maxPage and minPage bound what is read at once: about as much as a batch takes, since it waits in
// memory while the receiver does not take it, and no less than a page of the ledger is worth.
const (
	minPage = 100
	maxPage = 5000
)

// read forwards what the trail has, until ctx or the pass ends.
func (r *reader) read(ctx context.Context) error {
	if r.pass.letters {
		return r.readDeadLetters(ctx)
	}
	s := r.pass.engine().Trail.SubscribeSink(r.pass.sink.Org, filterOf(r.pass.sink), r.cursor)
	defer s.Close()
	for limit := min(max(r.limits.Events, minPage), maxPage); ctx.Err() == nil && !r.done; {
		r.share = r.pass.tenure.share()
		page, err := s.Next(ctx, r.until(), min(limit, r.share/eventBytes))
		if err == nil {
			err = r.take(ctx, page)
		}
		if err != nil {
			return err
		}
		if r.limits.Linger > 0 && page.AtEnd && len(page.Entries) > 0 {
			_ = backoff.Sleep(ctx, min(r.limits.Linger, gatherPause)) // the loop ends with ctx
		}
	}
	return nil
}

// gatherPause is how long what comes next gathers, for a sink whose batches wait for more anyway: it
// wakes twenty times a second and not for each message of uses. The ring holds what comes meanwhile,
// up to some hundred thousand uses a second.
const gatherPause = 50 * time.Millisecond

// until is when something is due though nothing comes.
func (r *reader) until() time.Time {
	until := time.Now().Add(r.passing())
	if r.pass.upto != nil {
		until = time.Now().Add(time.Second) // what it waits for is there
	}
	if r.batch != nil {
		until = earlier(until, r.batch.begun.Add(r.limits.Linger))
	}
	if r.sums != nil && r.sums.open() {
		until = earlier(until, r.sums.due())
	}
	return until
}

// passing is how long it may read past what the sink does not want before it notes where it is.
func (r *reader) passing() time.Duration {
	if r.atEnd {
		return backoff.Jitter(saveIdleEvery)
	}
	return saveBehindEvery
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// take puts a page into batches.
func (r *reader) take(ctx context.Context, page eventstore.Page) error {
	if page.Pruned != (eventstore.Span{}) {
		if err := r.pass.noteGap(ctx, eventstore.Uses, page.Pruned, domain.GapPruned); err != nil {
			return err
		}
	}
	for _, e := range page.Entries {
		if !r.within(&e.Record) {
			continue
		}
		before := r.cursor
		r.cursor.Move(&e.Record)
		r.addEntry(ctx, e, before)
	}
	r.cursor, r.atEnd = page.Next, page.AtEnd
	r.done = r.pass.upto != nil && page.Next.Reaches(*r.pass.upto)
	if r.sums != nil && (r.done || r.sums.open() && !time.Now().Before(r.sums.due())) {
		r.addSums(ctx)
	}
	switch {
	case r.done:
		r.flushLast(ctx)
	case r.batch != nil && (page.AtEnd || len(page.Entries) == 0) && time.Since(r.batch.begun) >= r.limits.Linger:
		r.flush(ctx)
	}
	if r.batch == nil {
		r.pass.passed(r.safe(), r.passing())
	}
	return nil
}

// within reports whether a replay includes the record.
func (r *reader) within(record *eventstore.Record) bool {
	return r.pass.upto == nil || record.Position <= r.pass.upto.At[record.Stream]
}

// addEntry puts an event into the batch, or a use into the sums if the sink has them.
func (r *reader) addEntry(ctx context.Context, e *eventstore.Entry, before eventstore.Cursor) {
	if r.sums == nil {
		r.add(ctx, r.pass.item(e, r.cursor))
		return
	}
	use, isUse := e.Event.(domain.KeyUsed)
	if !isUse {
		r.add(ctx, r.pass.item(e, r.safe()))
		return
	}
	if r.sums.closes(&e.Record) {
		after := r.cursor
		r.cursor = before
		r.addSums(ctx)
		r.cursor = after
	}
	r.sums.add(&e.Record, &use, before)
}

// addSums ends the minute that is being summed up. Until the last of its sums is done the sink
// stays before its first use: a crash sums up the same again.
func (r *reader) addSums(ctx context.Context) {
	all := r.sums.take()
	for i, e := range all {
		after := r.safeBefore(r.sums.begun)
		if i == len(all)-1 {
			r.sums.reset()
			after = r.safe()
		}
		r.add(ctx, r.pass.item(e, after))
	}
}

// safe is where the sink can go on once all that is in batches is done.
func (r *reader) safe() eventstore.Cursor {
	if r.sums != nil && r.sums.open() {
		return r.safeBefore(r.sums.begun)
	}
	return r.cursor
}

// safeBefore is the reader's place in the events, and an earlier one in the uses.
func (r *reader) safeBefore(uses eventstore.Cursor) eventstore.Cursor {
	c := r.cursor
	c.At[eventstore.Uses], c.Index = uses.At[eventstore.Uses], uses.Index
	return c
}

// add puts an item into the batch, and sends that on when it is full.
func (r *reader) add(ctx context.Context, i item) {
	if r.batch != nil && r.limits.Bytes > 0 && r.batch.bytes+len(i.event.Body) > min(r.limits.Bytes, r.share) {
		r.flush(ctx)
	}
	if r.batch == nil {
		r.batch = &batch{begun: time.Now(), items: make([]item, 0, min(max(1, r.limits.Events), fewItems))}
	}
	r.batch.items = append(r.batch.items, i)
	r.batch.bytes += len(i.event.Body)
	r.batch.after = i.after
	if len(r.batch.items) >= max(1, r.limits.Events) {
		r.flush(ctx)
	}
}

// fewItems is the room that a batch begins with.
const fewItems = 64

// flush sends the batch on, when the one before is done.
func (r *reader) flush(ctx context.Context) {
	b := r.batch
	r.batch = nil
	r.pass.began(b)
	select {
	case r.out <- b:
	case <-ctx.Done():
	}
}

// flushLast sends on what is left of a replay, after which the replay ends.
func (r *reader) flushLast(ctx context.Context) {
	if r.batch == nil {
		r.batch = &batch{after: r.cursor}
	}
	r.batch.end = true
	r.flush(ctx)
}
