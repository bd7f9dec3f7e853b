package eventstore_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
)

var (
	org  = domain.NewOrgID("test")
	noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
)

func created(n int) domain.KeyCreated {
	id := domain.NewKeyID("", fmt.Sprint(n))
	return domain.KeyCreated{ID: id, Org: org, Keyspace: "default", Settings: domain.Settings{Name: fmt.Sprint("key ", n), Scopes: []string{"a:read"}}, Prefix: "kt_live_abcd",
		Digest: domain.NewSecret(fmt.Sprint(n)).Digest(), Header: domain.Header{At: noon, By: "system"}}
}

func TestOneOfManyWritersWinsEachPosition(t *testing.T) {
	l := eventstoretest.New(t)
	ref := eventstore.KeyRef(org, created(1).ID)
	var wins, conflicts int
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			_, err := l.Append(t.Context(), ref, 0, eventstore.Command{ID: "c"}, created(1))
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				wins++
			case errors.Is(err, eventstore.ErrConflict):
				conflicts++
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if wins != 1 || conflicts != 7 {
		t.Fatalf("%d wins and %d conflicts, want 1 and 7", wins, conflicts)
	}
}

func TestLoadGivesTheHistoryOfOneAggregate(t *testing.T) {
	l := eventstoretest.New(t)
	ref := eventstore.KeyRef(org, created(1).ID)
	command := eventstore.Command{ID: "c1", Fingerprint: "f1", Actor: "system", Correlation: "r1"}
	first, err := l.Append(t.Context(), ref, 0, command, created(1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(t.Context(), eventstore.KeyRef(org, created(2).ID), 0, command, created(2)); err != nil {
		t.Fatal(err)
	}
	last, err := l.Append(t.Context(), ref, first, eventstore.Command{ID: "c2"}, domain.KeyRevoked{Reason: domain.KeyCompromise, Header: domain.Header{At: noon}})
	if err != nil {
		t.Fatal(err)
	}
	var history []eventstore.Record
	end, err := l.Load(t.Context(), ref, 0, func(r eventstore.Record) { history = append(history, r) })
	if err != nil {
		t.Fatal(err)
	}
	if end != last || len(history) != 2 {
		t.Fatalf("end %d with %d events, want %d with 2", end, len(history), last)
	}
	r := history[0]
	if r.Command != command || r.Org != org || r.Subject != string(created(1).ID) || !r.Time.Equal(noon) || r.Position != first {
		t.Errorf("the envelope came back as %+v", r)
	}
	if got := r.Event.(domain.KeyCreated); got.Digest != created(1).Digest || got.Name != "key 1" {
		t.Errorf("the event came back as %+v", got)
	}
	if _, ok := history[1].Event.(domain.KeyRevoked); !ok {
		t.Errorf("the second event is %T", history[1].Event)
	}
}

// A long history takes few requests, however it is cut between single reads and a consumer.
func TestALongHistoryTakesFewRequests(t *testing.T) {
	nc, err := eventstoretest.Server(t).Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	l, err := eventstore.Open(t.Context(), nc, eventstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ref := eventstore.KeyRef(org, created(1).ID)
	var end eventstore.Position
	const events = 1100
	for i := range events {
		if end, err = l.Append(t.Context(), ref, end, eventstore.Command{ID: fmt.Sprint(i)}, domain.KeyDisabled{Header: domain.Header{At: noon}}); err != nil {
			t.Fatal(err)
		}
	}
	before, n := nc.Stats().OutMsgs, 0
	got, err := l.Load(t.Context(), ref, 0, func(r eventstore.Record) {
		if r.Command.ID != fmt.Sprint(n) {
			t.Fatalf("event %d is of command %s", n, r.Command.ID)
		}
		n++
	})
	if err != nil || got != end || n != events {
		t.Fatalf("%d events up to %d, %v; want %d up to %d", n, got, err, events, end)
	}
	if asked := nc.Stats().OutMsgs - before; asked > events/10 {
		t.Errorf("it took %d requests", asked)
	}
	n = events - 3
	if got, err = l.Load(t.Context(), ref, end-3, func(eventstore.Record) { n++ }); err != nil || got != end || n != events {
		t.Errorf("from %d on: up to %d, %d events, %v", end-3, got, n, err)
	}
}

func TestReadFollowsFromAPositionInOrder(t *testing.T) {
	l := eventstoretest.New(t)
	add := func(n int) {
		if _, err := l.Append(t.Context(), eventstore.KeyRef(org, created(n).ID), 0, eventstore.Command{}, created(n)); err != nil {
			t.Error(err)
		}
	}
	for n := range 10 {
		add(n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := errors.New("seen all")
	next := eventstore.Position(4)
	err := l.Read(ctx, eventstore.Query{Reach: domain.All, After: 3, Live: true, Max: 3}, func(b eventstore.Batch) error {
		if len(b.Records) > 3 {
			t.Errorf("a batch of %d records, want at most 3", len(b.Records))
		}
		for _, r := range b.Records {
			if r.Position != next {
				t.Fatalf("position %d, want %d", r.Position, next)
			}
			next++
		}
		if next == 11 {
			add(10) // what comes while it waits is delivered too
		}
		if next == 12 {
			return done
		}
		return nil
	})
	if !errors.Is(err, done) {
		t.Fatal(err)
	}
}

func TestReadToTheEndStops(t *testing.T) {
	l := eventstoretest.New(t)
	other := domain.NewOrgID("other")
	for n := range 5 {
		if _, err := l.Append(t.Context(), eventstore.KeyRef(org, created(n).ID), 0, eventstore.Command{}, created(n)); err != nil {
			t.Fatal(err)
		}
	}
	for want, q := range map[int]eventstore.Query{5: {Reach: domain.All}, 2: {Reach: domain.All, After: 3}, 0: {Reach: domain.Only(other)}} {
		n := 0
		if err := l.Read(t.Context(), q, func(b eventstore.Batch) error { n += len(b.Records); return nil }); err != nil {
			t.Fatal(err)
		}
		if n != want {
			t.Errorf("read %d events for %+v, want %d", n, q, want)
		}
	}
}

func TestACheckpointTellsLedgersApart(t *testing.T) {
	checkpoints := make([]eventstore.Checkpoint, 2)
	for i := range checkpoints {
		l := eventstoretest.New(t)
		p, err := l.Append(t.Context(), eventstore.KeyRef(org, created(1).ID), 0, eventstore.Command{}, created(1))
		if err != nil {
			t.Fatal(err)
		}
		if checkpoints[i], err = l.CheckpointAt(t.Context(), eventstore.Events, p); err != nil {
			t.Fatal(err)
		}
		var read eventstore.Checkpoint
		if err := l.Read(t.Context(), eventstore.Query{Reach: domain.All}, func(b eventstore.Batch) error { read = b.Checkpoint; return nil }); err != nil {
			t.Fatal(err)
		}
		if read != checkpoints[i] {
			t.Errorf("a batch has %+v, the ledger says %+v", read, checkpoints[i])
		}
		if _, err := l.CheckpointAt(t.Context(), eventstore.Events, p+1); !errors.Is(err, eventstore.ErrNoSuchPosition) {
			t.Errorf("a checkpoint beyond the end: %v", err)
		}
	}
	if checkpoints[0].Hash == checkpoints[1].Hash {
		t.Error("two ledgers with the same event at the same position have the same hash")
	}
}

// A reader that has ended leaves nothing on the server, however it ended.
func TestAReadLeavesNoConsumer(t *testing.T) {
	l := eventstoretest.New(t)
	if _, err := l.Append(t.Context(), eventstore.KeyRef(org, created(1).ID), 0, eventstore.Command{}, created(1)); err != nil {
		t.Fatal(err)
	}
	enough := errors.New("enough")
	ctx, cancel := context.WithCancel(t.Context())
	for _, c := range []struct {
		query  eventstore.Query
		handle func(eventstore.Batch) error
	}{
		{eventstore.Query{Reach: domain.All}, func(eventstore.Batch) error { return nil }},
		{eventstore.Query{Reach: domain.Only(domain.NewOrgID("nobody"))}, func(eventstore.Batch) error { return nil }},
		{eventstore.Query{Reach: domain.All, Live: true}, func(eventstore.Batch) error { return enough }},
		{eventstore.Query{Reach: domain.All, Live: true}, func(eventstore.Batch) error { cancel(); return nil }},
	} {
		if err := l.Read(ctx, c.query, c.handle); err != nil && !errors.Is(err, enough) && ctx.Err() == nil {
			t.Fatal(err)
		}
		if n, err := l.Consumers(t.Context(), eventstore.Events); n != 0 || err != nil {
			t.Errorf("after %+v there are %d consumers, %v", c.query, n, err)
		}
	}
}

func TestUsesReadBackSingly(t *testing.T) {
	l := eventstoretest.New(t)
	var b eventstore.UseBatch
	want := []domain.KeyUsed{
		{Key: created(1).ID, Code: domain.UseValid, At: noon, Scopes: []string{"a:read", "b:*"}, IP: "192.0.2.1", Principal: "system", RequestID: "r1", Windows: []int64{60000, 3600000}},
		{Key: created(2).ID, Code: domain.UseRevoked, At: noon, RequestID: "needs \"escapes\" \xff"},
	}
	for i := range want {
		if !b.Add(org, &want[i], 1) {
			t.Fatal("full after", i)
		}
	}
	p, err := l.AppendUses(t.Context(), &b)
	if err != nil {
		t.Fatal(err)
	}
	var got []eventstore.Record
	if err := l.Read(t.Context(), eventstore.Query{Reach: domain.Only(org), Stream: eventstore.Uses}, func(b eventstore.Batch) error {
		got = append(got, b.Records...)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	want[1].RequestID = "needs \"escapes\" \ufffd"
	for i, r := range got {
		have, _ := json.Marshal(r.Event)
		expect, _ := json.Marshal(want[i])
		if string(have) != string(expect) {
			t.Errorf("use %d is %s, want %s", i, have, expect)
		}
		if want := fmt.Sprintf("%d.%d", p, i); r.Identity() != want {
			t.Errorf("identity %s, want %s", r.Identity(), want)
		}
	}
	if len(got) != 2 {
		t.Errorf("%d uses came back, want 2", len(got))
	}
}

func TestAMessageOfUsesStaysUnder64KiB(t *testing.T) {
	l := eventstoretest.New(t)
	var b eventstore.UseBatch
	u := domain.KeyUsed{Key: created(1).ID, Code: domain.UseValid, At: noon, Principal: "system", RequestID: "0123456789"}
	for b.Add(org, &u, 1) {
	}
	if b.Len() < 300 {
		t.Errorf("only %d uses fit", b.Len())
	}
	if _, err := l.AppendUses(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
}

func TestASecondServerOnADirectoryIsRefused(t *testing.T) {
	dir := t.TempDir()
	log := slog.New(slog.DiscardHandler)
	s, err := eventstore.StartServer(dir, log)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := eventstore.StartServer(dir, log); err == nil {
		t.Error("two servers on one directory")
	}
	l := eventstoretest.Open(t, s)
	if _, err := l.Append(t.Context(), eventstore.KeyRef(org, created(1).ID), 0, eventstore.Command{}, created(1)); err != nil {
		t.Fatal(err)
	}
	s.Close()
	again, err := eventstore.StartServer(dir, log)
	if err != nil {
		t.Fatal("after Close:", err)
	}
	defer again.Close()
	if end, err := eventstoretest.Open(t, again).End(t.Context(), eventstore.Events); err != nil || end != 1 {
		t.Errorf("after a restart the ledger ends at %d, %v; want 1", end, err)
	}
}

func TestAStoppedServerFailsAppendsWithinTheDeadline(t *testing.T) {
	s := eventstoretest.Server(t)
	l := eventstoretest.Open(t, s)
	s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, err := l.Append(ctx, eventstore.KeyRef(org, created(1).ID), 0, eventstore.Command{}, created(1))
	if !errors.Is(err, domain.ErrLedgerUnavailable) {
		t.Errorf("append to a stopped server: %v", err)
	}
}
