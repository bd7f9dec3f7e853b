package forwarders_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
	"github.com/keytrail/keytrail/forwarders"
	"github.com/keytrail/keytrail/forwarders/transport"
	"github.com/keytrail/keytrail/internal/lease"
)

var (
	acme  = domain.NewOrgID("acme")
	other = domain.NewOrgID("other")
	noon  = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
)

// An installation is a ledger and what the engines of its processes have in common.
type installation struct {
	t      testing.TB
	server *eventstore.Server
	ledger *eventstore.Ledger
	places map[domain.KeyID]eventstore.Position

	mu        sync.Mutex
	sinks     map[domain.SinkID]forwarders.Sink
	changed   chan struct{}
	revision  eventstore.Position
	receivers map[domain.SinkID]*receiver
	senders   map[domain.SinkID]int    // how many were made
	onStop    func(*forwarders.Sink)   // how a sink that the engine pauses changes
	stopped   map[domain.SinkID]string // reason and text
	gaps      []domain.SinkSpan
	replays   []domain.SinkReplayResult
	ahead     time.Duration // of the engines' clocks
	alone     bool
	metrics   *prometheus.Registry // of the last engine
}

func install(t testing.TB) *installation {
	server := eventstoretest.Server(t)
	return &installation{t: t, server: server, ledger: eventstoretest.Open(t, server), places: map[domain.KeyID]eventstore.Position{},
		sinks: map[domain.SinkID]forwarders.Sink{}, changed: make(chan struct{}), receivers: map[domain.SinkID]*receiver{}, senders: map[domain.SinkID]int{}, stopped: map[domain.SinkID]string{},
		onStop: func(s *forwarders.Sink) { s.Paused = true }}
}

func (i *installation) Sinks() (map[domain.SinkID]eventstore.Position, <-chan struct{}) {
	i.mu.Lock()
	defer i.mu.Unlock()
	all := map[domain.SinkID]eventstore.Position{}
	for id, s := range i.sinks {
		all[id] = s.Revision
	}
	return all, i.changed
}

func (i *installation) Sink(_ context.Context, id domain.SinkID, _ eventstore.Position) (forwarders.Sink, bool, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	s, ok := i.sinks[id]
	return s, ok, nil
}

func (i *installation) StopSink(_ context.Context, _ domain.OrgID, id domain.SinkID, reason domain.SinkPauseReason, text string) error {
	i.change(id, i.onStop)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.stopped[id] = string(reason) + ": " + text
	return nil
}

func (i *installation) NoteSinkGap(_ context.Context, _ domain.OrgID, _ domain.SinkID, gap domain.SinkSpan) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.gaps = append(i.gaps, gap)
	return nil
}

func (i *installation) EndSinkReplay(_ context.Context, _ domain.OrgID, id domain.SinkID, _ int, r domain.SinkReplayResult) error {
	i.change(id, func(s *forwarders.Sink) { s.Replay = nil })
	i.mu.Lock()
	defer i.mu.Unlock()
	i.replays = append(i.replays, r)
	return nil
}

// change changes a sink, as a command does.
func (i *installation) change(id domain.SinkID, f func(*forwarders.Sink)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	s := i.sinks[id]
	f(&s)
	i.revision++
	s.Revision = i.revision
	i.sinks[id] = s
	close(i.changed)
	i.changed = make(chan struct{})
}

// sink creates a sink, and its receiver.
func (i *installation) sink(name string, org domain.OrgID, f func(*forwarders.Sink)) *receiver {
	id := domain.NewSinkID(org, name)
	r := &receiver{limits: transport.Limits{Events: 1}, seen: map[string]bool{}}
	i.mu.Lock()
	i.receivers[id] = r
	i.mu.Unlock()
	r.id = id
	i.change(id, func(s *forwarders.Sink) {
		s.Receiver = transport.Receiver{Sink: id, Org: org, SinkDefinition: domain.SinkDefinition{Name: name, Type: domain.SinkWebhook, Format: domain.FormatCloudEvents, URL: "https://" + name + ".example"}}
		if f != nil {
			f(s)
		}
	})
	return r
}

func (i *installation) sender(r transport.Receiver) (transport.Sender, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.senders[r.Sink]++
	if r.Type == domain.SinkStream {
		return transport.New(r, transport.Environment{Streams: func(ctx context.Context, org domain.OrgID, sink domain.SinkID, keep time.Duration) (transport.Stream, error) {
			return i.ledger.SinkStream(ctx, org, sink, keep)
		}})
	}
	return i.receivers[r.Sink], nil
}

// made is how many senders were made for a receiver.
func (i *installation) made(r *receiver) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.senders[r.id]
}

// engine is that of a process with a connection of its own.
func (i *installation) engine(node string) *forwarders.Engine {
	l := eventstoretest.Open(i.t, i.server)
	i.metrics = prometheus.NewRegistry()
	return forwarders.New(forwarders.Options{Ledger: l, Trail: eventstore.NewTrail(l, nil), Catalog: i, Commands: i, Sender: i.sender, Origin: func() string { return "0123abcd" }, Node: node, Alone: i.alone, Metrics: i.metrics,
		Now: func() time.Time { i.mu.Lock(); defer i.mu.Unlock(); return time.Now().Add(i.ahead) }})
}

// metric is the sum of a metric's series in the last engine, of those of a state if it is not "".
func (i *installation) metric(name, state string) (sum float64) {
	i.t.Helper()
	families, err := i.metrics.Gather()
	if err != nil {
		i.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			if state == "" || strings.Contains(m.String(), `"`+state+`"`) {
				sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

// run runs an engine until stop is called.
func (i *installation) run(node string) (e *forwarders.Engine, stop func()) {
	e = i.engine(node)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = e.Run(ctx) }()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	i.t.Cleanup(stop)
	return e, stop
}

// happen appends an event of a key, which is created at first.
func (i *installation) happen(org domain.OrgID, key string) eventstore.Position {
	i.t.Helper()
	id := domain.NewKeyID(org, key)
	var e domain.Event = domain.KeyDisabled{Header: domain.Header{At: noon}}
	if i.places[id] == 0 {
		e = domain.KeyCreated{Header: domain.Header{At: noon}}
	}
	p, err := i.ledger.Append(i.t.Context(), eventstore.KeyRef(org, id), i.places[id], eventstore.Command{ID: fmt.Sprint(key, i.places[id])}, e)
	if err != nil {
		i.t.Fatal(err)
	}
	i.places[id] = p
	return p
}

// use appends a message of uses of a key.
func (i *installation) use(org domain.OrgID, key string, decided eventstore.Position, codes ...domain.Outcome) eventstore.Position {
	i.t.Helper()
	var b eventstore.UseBatch
	for _, code := range codes {
		b.Add(org, &domain.KeyUsed{Key: domain.NewKeyID(org, key), Code: code, At: noon, IP: "192.0.2.1"}, decided)
	}
	p, err := i.ledger.AppendUses(i.t.Context(), &b)
	if err != nil {
		i.t.Fatal(err)
	}
	return p
}

// A receiver takes what it is sent, or answers as its script says.
type receiver struct {
	id     domain.SinkID
	limits transport.Limits

	mu      sync.Mutex
	answer  func([]transport.Event) transport.Result // nil: it takes everything
	discard func([]transport.Event)                  // instead: what comes is looked at and not kept
	got     []transport.Event                        // each once, in the order in which it came first
	seen    map[string]bool
	sends   int
}

func (r *receiver) Send(ctx context.Context, events []transport.Event) transport.Result {
	r.mu.Lock()
	answer, discard := r.answer, r.discard
	r.sends++
	r.mu.Unlock()
	if discard != nil {
		discard(events)
		return transport.Result{Status: 200}
	}
	result := transport.Result{Status: 200}
	if answer != nil {
		result = answer(events)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, e := range events {
		if result.Failed[i] == nil && !r.seen[e.ID] {
			r.seen[e.ID] = true
			r.got = append(r.got, e)
		}
	}
	return result
}

func (r *receiver) Limits() transport.Limits { return r.limits }

func (r *receiver) Close() error { return nil }

func (r *receiver) answers(f func([]transport.Event) transport.Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = f
}

// discards makes it take everything and keep nothing.
func (r *receiver) discards(f func([]transport.Event)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.discard = f
}

// sequences are the places of what came.
func (r *receiver) sequences() (all []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.got {
		all = append(all, strings.TrimPrefix(e.ID, "0123abcd-"))
	}
	return all
}

func (r *receiver) attempts() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sends
}

// fails answers every event with one failure.
func fails(f transport.Failure) func([]transport.Event) transport.Result {
	return func(events []transport.Event) transport.Result { return transport.All(len(events), &f) }
}

func until(t testing.TB, what string, f func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-ctx.Done():
			t.Fatal("waited for long, but not: ", what)
		case <-tick.C:
		}
	}
}

// demand waits until a receiver has what it is to have, and no more than that.
func demand(t testing.TB, r *receiver, want ...string) {
	t.Helper()
	until(t, fmt.Sprintf("%s has %v", r.id, want), func() bool { return len(r.sequences()) >= len(want) })
	if got := r.sequences(); !slices.Equal(got, want) {
		t.Errorf("it got %v, want %v", got, want)
	}
}

// TestASinkGetsWhatItIsToGet, and an organization's nothing of another's.
func TestASinkGetsWhatItIsToGet(t *testing.T) {
	i := install(t)
	i.happen(acme, "before")
	all := i.sink("all", domain.Installation, nil)
	own := i.sink("own", acme, nil)
	typed := i.sink("typed", acme, func(s *forwarders.Sink) { s.EventTypes = []string{"key.disabled"} })
	none := i.sink("none", acme, func(s *forwarders.Sink) { s.Uses.Mode = "none" })
	late := i.sink("late", acme, func(s *forwarders.Sink) { s.Start = eventstore.CursorAfter(1, 0) })
	i.run("a")
	demand(t, own, "events-1")
	i.happen(other, "k")
	p := i.happen(acme, "k")
	i.use(acme, "k", p, domain.UseValid, domain.UseRevoked)
	i.use(other, "k", p, domain.UseValid)
	i.happen(acme, "k")
	demand(t, typed, "events-4")
	demand(t, none, "events-1", "events-3", "events-4")
	for r, want := range map[*receiver][]string{
		all:  {"events-1", "events-2", "events-3", "events-4", "uses-1-0", "uses-1-1", "uses-2-0"},
		own:  {"events-1", "events-3", "events-4", "uses-1-0", "uses-1-1"},
		late: {"events-3", "events-4", "uses-1-0", "uses-1-1"},
	} {
		until(t, "all is there", func() bool { return len(r.sequences()) >= len(want) })
		got := r.sequences()
		if slices.Index(got, "uses-1-0") < slices.Index(got, "events-3") || slices.Index(got, "uses-1-1") < slices.Index(got, "uses-1-0") {
			t.Errorf("out of order: %v", got)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("it got %v, want %v", got, want)
		}
	}
}

// TestAReceiverThatTakesSomeIsNotLeftAlone: one that fails now and then answers each attempt with a
// failure if the events of a key are many, and is reachable all the same.
func TestAReceiverThatTakesSomeIsNotLeftAlone(t *testing.T) {
	const events = 9 // more attempts than failures in a row that open a circuit breaker
	i := install(t)
	r := i.sink("flaky", acme, nil)
	r.limits.Events = events
	r.answers(func(events []transport.Event) transport.Result {
		result := transport.All(len(events), &transport.Failure{Kind: transport.Again, Status: 500, Text: "busy"})
		delete(result.Failed, 0)
		return result
	})
	var want []string
	for n := range events {
		i.happen(acme, "k")
		want = append(want, fmt.Sprint("events-", n+1))
	}
	i.run("a")
	demand(t, r, want...)
}

// TestAFailureIsRepeatedInOrder, what was accepted beside it is not, and other sinks are not kept
// waiting.
func TestAFailureIsRepeatedInOrder(t *testing.T) {
	i := install(t)
	slow := i.sink("slow", acme, nil)
	slow.limits.Events = 10
	var mu sync.Mutex
	sent := map[string]int{}
	slow.answers(func(events []transport.Event) transport.Result {
		r := transport.Result{Failed: map[int]*transport.Failure{}, Status: 503}
		mu.Lock()
		defer mu.Unlock()
		for n, e := range events {
			if sent[e.ID]++; sent[e.ID] < 3 && e.Sequence != "2" {
				r.Failed[n] = &transport.Failure{Kind: transport.Again, Status: 503, Text: "busy"}
			}
		}
		return r
	})
	panics := i.sink("panics", acme, nil)
	panics.answers(func([]transport.Event) transport.Result { panic("a bug") })
	hangs := i.sink("hangs", acme, nil)
	wait := make(chan struct{})
	letGo := sync.OnceFunc(func() { close(wait) })
	t.Cleanup(letGo)
	hangs.answers(func([]transport.Event) transport.Result { <-wait; return transport.Result{} })
	good := i.sink("good", acme, nil)
	for n := range 4 {
		i.happen(acme, fmt.Sprint(n))
	}
	e, _ := i.run("a")
	demand(t, good, "events-1", "events-2", "events-3", "events-4")
	demand(t, slow, "events-2", "events-1", "events-3", "events-4")
	mu.Lock()
	if sent["0123abcd-events-2"] != 1 {
		t.Errorf("what was accepted was sent %d times", sent["0123abcd-events-2"])
	}
	mu.Unlock()
	until(t, "the failures are told", func() bool {
		a, err := e.SinkAttempts(t.Context(), slow.id)
		return err == nil && len(a) >= 2 && a[len(a)-1].Error == "busy" && a[len(a)-1].Failed == 3
	})
	until(t, "the panic is told", func() bool {
		s, err := e.SinkStatus(t.Context(), panics.id)
		return err == nil && s.LagEvents == 4 && strings.Contains(s.LastError, "the service failed to send") && !s.FailingSince.IsZero()
	})
	panics.answers(nil)
	demand(t, panics, "events-1", "events-2", "events-3", "events-4")
	letGo()
}

// TestTimesAreToTheMillisecond, as all others that the API shows.
func TestTimesAreToTheMillisecond(t *testing.T) {
	i := install(t)
	r := i.sink("r", acme, nil)
	r.answers(func(events []transport.Event) transport.Result {
		if events[0].Sequence == "1" {
			return transport.All(1, &transport.Failure{Kind: transport.Rejected, Text: "no"})
		}
		return transport.All(1, &transport.Failure{Kind: transport.Again, After: time.Hour, Text: "not yet"})
	})
	i.happen(acme, "k")
	i.happen(acme, "k")
	e, _ := i.run("a")
	var times []time.Time
	until(t, "it has failed", func() bool {
		s, err := e.SinkStatus(t.Context(), r.id)
		a, errA := e.SinkAttempts(t.Context(), r.id)
		l, errL := e.SinkDeadLetters(t.Context(), r.id, 0, 1)
		if err != nil || errA != nil || errL != nil || s.Retries == 0 || len(a) < 2 || len(l) < 1 {
			return false
		}
		times = []time.Time{s.LastSuccessAt, s.FailingSince, s.LastErrorAt, s.NextAttemptAt, a[0].At, l[0].At}
		return true
	})
	for n, at := range times {
		if at.IsZero() || !at.Equal(at.Truncate(time.Millisecond)) {
			t.Errorf("time %d is %v", n, at)
		}
	}
}

// TestWhatIsRejectedIsSetAside, and can be delivered after all.
func TestWhatIsRejectedIsSetAside(t *testing.T) {
	i := install(t)
	r := i.sink("r", acme, nil)
	r.answers(func(events []transport.Event) transport.Result {
		if events[0].Sequence == "2" {
			return transport.All(1, &transport.Failure{Kind: transport.Rejected, Status: 422, Text: "no such field"})
		}
		return transport.Result{}
	})
	for range 3 {
		i.happen(acme, "k")
	}
	e, _ := i.run("a")
	demand(t, r, "events-1", "events-3")
	letters, err := e.SinkDeadLetters(t.Context(), r.id, 0, 10)
	if err != nil || len(letters) != 1 || letters[0].Event != "0123abcd-events-2" || letters[0].Status != 422 || !strings.Contains(string(letters[0].Body), "key.disabled") {
		t.Fatalf("%+v: %v", letters, err)
	}
	replay := func(n int) {
		i.change(r.id, func(s *forwarders.Sink) { s.Replay = &forwarders.Replay{Number: n, DeadLetters: true} })
		until(t, "the replay has ended", func() bool { i.mu.Lock(); defer i.mu.Unlock(); return len(i.replays) == n })
	}
	replay(1)
	if letters, _ := e.SinkDeadLetters(t.Context(), r.id, 0, 10); len(letters) != 1 || i.replays[0].Rejected != 1 {
		t.Errorf("%d dead letters and %+v after it was rejected again", len(letters), i.replays[0])
	}
	r.answers(nil)
	replay(2)
	demand(t, r, "events-1", "events-3", "events-2")
	if letters, _ := e.SinkDeadLetters(t.Context(), r.id, 0, 10); len(letters) != 0 {
		t.Errorf("%d dead letters after they were delivered", len(letters))
	}
}

// TestWhatCannotBeWrittenIsSetAside, and is no reason to stop.
func TestWhatCannotBeWrittenIsSetAside(t *testing.T) {
	i := install(t)
	r := i.sink("r", acme, func(s *forwarders.Sink) { s.Format = "nonsense" })
	i.happen(acme, "k")
	i.happen(acme, "k")
	e, _ := i.run("a")
	until(t, "both are set aside", func() bool {
		letters, err := e.SinkDeadLetters(t.Context(), r.id, 0, 10)
		return err == nil && len(letters) == 2 && letters[1].Event == "0123abcd-events-2" && strings.Contains(letters[1].Error, "no format")
	})
	if r.attempts() > 0 {
		t.Error("something was sent")
	}
}

// TestASinkPausesAtOnce when its receiver is gone, though it answered something else to an event
// before.
func TestASinkPausesAtOnce(t *testing.T) {
	i := install(t)
	r := i.sink("r", acme, nil)
	r.limits.Events = 10
	r.answers(func(events []transport.Event) transport.Result {
		all := transport.All(len(events), &transport.Failure{Kind: transport.Again, Status: 500, Text: "failing"})
		all.Failed[len(events)-1] = &transport.Failure{Kind: transport.Gone, Status: 410, Text: "no more"}
		return all
	})
	i.happen(acme, "k")
	i.happen(acme, "k")
	i.run("a")
	until(t, "it has paused", func() bool { i.mu.Lock(); defer i.mu.Unlock(); return i.stopped[r.id] == "gone: no more" })
	if r.attempts() != 1 {
		t.Errorf("after %d attempts", r.attempts())
	}
}

// TestALostLeaseEndsTheForwarding, until it can be had again.
func TestALostLeaseEndsTheForwarding(t *testing.T) {
	i := install(t)
	r := i.sink("r", acme, nil)
	i.run("a")
	i.happen(acme, "k")
	demand(t, r, "events-1")
	take := func(holder string) {
		t.Helper()
		until(t, "the lease is changed", func() bool {
			now, err := i.ledger.State(t.Context(), eventstore.Sinks, lease.Name)
			if err != nil {
				return false
			}
			_, err = i.ledger.PutState(t.Context(), eventstore.Sinks, lease.Name, now.Revision, fmt.Appendf(nil, `{"holder":%q,"node":"b","term":7}`, holder))
			return err == nil
		})
	}
	take("another")
	until(t, "it forwards no more", func() bool { return i.metric("keytrail_sinks_leader", "") == 0 })
	i.happen(acme, "k")
	if got := r.sequences(); len(got) != 1 {
		t.Errorf("it got %v", got)
	}
	take("")
	demand(t, r, "events-1", "events-2")
}

// TestASinkPauses when its receiver is gone, or has failed for five days, and goes on from where it
// stopped.
func TestASinkPauses(t *testing.T) {
	for name, c := range map[string]struct {
		failure transport.Failure
		ahead   time.Duration
		reason  string
	}{
		"gone":    {transport.Failure{Kind: transport.Gone, Status: 410, Text: "no more"}, 0, "gone: no more"},
		"failing": {transport.Failure{Kind: transport.Again, Status: 401, Text: "who?"}, 5*24*time.Hour + time.Minute, "failing: who?"},
	} {
		t.Run(name, func(t *testing.T) {
			i := install(t)
			r := i.sink("r", acme, nil)
			r.answers(fails(c.failure))
			i.happen(acme, "k")
			i.happen(acme, "k")
			i.run("a")
			until(t, "it was tried", func() bool { return r.attempts() > 0 })
			i.mu.Lock()
			i.ahead = c.ahead
			i.mu.Unlock()
			until(t, "it has paused", func() bool { i.mu.Lock(); defer i.mu.Unlock(); return i.stopped[r.id] == c.reason })
			r.answers(nil)
			i.change(r.id, func(s *forwarders.Sink) { s.Paused, s.Resumed = false, time.Now().Add(c.ahead) })
			demand(t, r, "events-1", "events-2")
		})
	}
}

// TestAResumptionThatHidesThePause: the engine sees a sink that was resumed as soon as it paused.
func TestAResumptionThatHidesThePause(t *testing.T) {
	i := install(t)
	r := i.sink("r", acme, nil)
	i.onStop = func(s *forwarders.Sink) { s.Resumed = time.Now() }
	r.answers(func(events []transport.Event) transport.Result {
		r.answers(nil)
		return fails(transport.Failure{Kind: transport.Gone, Status: 410, Text: "no more"})(events)
	})
	i.happen(acme, "k")
	i.run("a")
	demand(t, r, "events-1")
}

// TestMetricsTellHowASinkFares: how far it is behind, in events and seconds, its state, and what came
// of attempts.
func TestMetricsTellHowASinkFares(t *testing.T) {
	i := install(t)
	r := i.sink("r", acme, nil)
	r.answers(fails(transport.Failure{Kind: transport.Again, Status: 401, Text: "who?"}))
	for range 3 {
		i.happen(acme, "k")
	}
	i.ahead = time.Hour
	e, _ := i.run("a")
	go func() { // the read model, which knows where the ledger ends
		_ = e.Ledger.Follow(t.Context(), eventstore.Events, eventstore.Checkpoint{}, 100, func(eventstore.Batch) error { return nil })
	}()
	until(t, "it is retried", func() bool {
		return i.metric("keytrail_sink_retries_total", "") > 0 && i.metric("keytrail_sink_lag_events", "") == 3
	})
	if seconds := i.metric("keytrail_sink_lag_seconds", ""); seconds < 3600 || seconds > 7200 {
		t.Errorf("its oldest event is %v seconds old", seconds)
	}
	if failing, leads, last := i.metric("keytrail_sink_state", "failing"), i.metric("keytrail_sinks_leader", ""), i.metric("keytrail_sink_last_success_timestamp_seconds", ""); failing != 1 || leads != 1 || last != 0 {
		t.Errorf("%v are failing, %v lead, the last success was at %v", failing, leads, last)
	}
	until(t, "its status has been put down", func() bool {
		s, err := e.SinkStatus(t.Context(), r.id)
		return err == nil && s.LagEvents == 3 && s.LagSeconds > 0 && s.Retries > 0
	})
	r.answers(nil)
	demand(t, r, "events-1", "events-2", "events-3")
	until(t, "it is up to date", func() bool {
		return i.metric("keytrail_sink_lag_events", "") == 0 && i.metric("keytrail_sink_lag_seconds", "") == 0 && i.metric("keytrail_sink_state", "active") == 1
	})
	if delivered, last := i.metric("keytrail_sink_delivered_total", ""), i.metric("keytrail_sink_last_success_timestamp_seconds", ""); delivered != 3 || last < float64(time.Now().Unix()) {
		t.Errorf("%v were delivered, the last at %v", delivered, last)
	}
	i.change(r.id, func(s *forwarders.Sink) { s.Paused = true })
	until(t, "it has paused", func() bool { return i.metric("keytrail_sink_state", "paused") == 1 })
}

// TestRetryAfterIsHeeded: the receiver is not asked again before.
func TestRetryAfterIsHeeded(t *testing.T) {
	i := install(t)
	r := i.sink("r", acme, nil)
	var mu sync.Mutex
	var at []time.Time
	r.answers(func(events []transport.Event) transport.Result {
		mu.Lock()
		defer mu.Unlock()
		if at = append(at, time.Now()); len(at) == 1 {
			return transport.All(1, &transport.Failure{Kind: transport.Again, Status: 429, After: 2 * time.Second, Text: "slow down"})
		}
		return transport.Result{}
	})
	i.happen(acme, "k")
	i.run("a")
	demand(t, r, "events-1")
	mu.Lock()
	defer mu.Unlock()
	if at[1].Sub(at[0]) < 2*time.Second {
		t.Errorf("it was asked again after %v", at[1].Sub(at[0]))
	}
}

// TestAReplayIsASecondPass beside what comes, and survives the process that runs it.
func TestAReplayIsASecondPass(t *testing.T) {
	i := install(t)
	r := i.sink("r", acme, nil)
	for range 5 {
		i.happen(acme, "k")
	}
	_, stop := i.run("a")
	demand(t, r, "events-1", "events-2", "events-3", "events-4", "events-5")
	r.mu.Lock()
	r.got, r.seen = nil, map[string]bool{}
	r.mu.Unlock()
	r.answers(func(events []transport.Event) transport.Result {
		if events[0].Sequence == "4" {
			return transport.All(1, &transport.Failure{Kind: transport.Again, Text: "not yet"})
		}
		return transport.Result{}
	})
	i.change(r.id, func(s *forwarders.Sink) {
		s.Replay = &forwarders.Replay{Number: 1, From: eventstore.CursorAfter(2, 0), To: eventstore.CursorAfter(4, 0)}
	})
	demand(t, r, "events-3")
	i.happen(acme, "k")
	demand(t, r, "events-3", "events-6")
	stop()
	r.answers(nil)
	i.run("b")
	demand(t, r, "events-3", "events-6", "events-4")
	until(t, "it has ended", func() bool { i.mu.Lock(); defer i.mu.Unlock(); return len(i.replays) == 1 })
	if got := i.replays[0]; got != (domain.SinkReplayResult{Delivered: 2}) {
		t.Errorf("it did %+v", got)
	}
	demand(t, r, "events-3", "events-6", "events-4")
}

// TestUsesAreSampledAlike in each pass: every refusal, and some of the others.
func TestUsesAreSampledAlike(t *testing.T) {
	i := install(t)
	codes := slices.Repeat([]domain.Outcome{domain.UseValid}, 100)
	for n := range 30 {
		codes[10+n] = domain.UseRevoked
	}
	i.use(acme, "k", 0, codes...)
	sampled := func(s *forwarders.Sink) { s.Uses = domain.SinkUses{Mode: "sampled", OneIn: 10} }
	a, b := i.sink("a", acme, sampled), i.sink("b", acme, sampled)
	end := i.sink("end", acme, nil)
	i.run("a")
	until(t, "all is there", func() bool {
		return len(end.sequences()) == 100 && len(b.sequences()) == len(a.sequences()) && len(a.sequences()) > 30
	})
	got := a.sequences()
	if !slices.Equal(got, b.sequences()) || len(got) > 60 {
		t.Errorf("%v and %v", got, b.sequences())
	}
	for n := range 30 {
		if refusal := fmt.Sprintf("uses-1-%d", 10+n); !slices.Contains(got, refusal) {
			t.Errorf("%s is missing", refusal)
		}
	}
}

// TestTheLeaseIsTakenOver at once when its holder stops, and after a while when it ends without a
// word; meanwhile only one process forwards.
func TestTheLeaseIsTakenOver(t *testing.T) {
	i := install(t)
	r := i.sink("r", acme, nil)
	_, stop := i.run("a")
	i.happen(acme, "k")
	demand(t, r, "events-1")
	i.run("b")
	stop()
	i.happen(acme, "k")
	demand(t, r, "events-1", "events-2")
	if n := r.attempts(); n != 2 {
		t.Errorf("%d attempts for two events", n)
	}
}

// TestAProcessThatIsAloneTakesTheLease at once, though it seems to be held: by itself, before it
// was killed.
func TestAProcessThatIsAloneTakesTheLease(t *testing.T) {
	i := install(t)
	r := i.sink("r", acme, nil)
	i.happen(acme, "k")
	var at eventstore.Position
	renew := func() (err error) {
		at, err = i.ledger.PutState(t.Context(), eventstore.Sinks, lease.Name, at, fmt.Appendf(nil, `{"holder":"another","term":3,"at":%q}`, time.Now().Format(time.RFC3339Nano)))
		return err
	}
	if err := renew(); err != nil {
		t.Fatal(err)
	}
	i.alone = true
	i.run("a")
	until(t, "the lease is taken from one that renews it", func() bool { return errors.Is(renew(), eventstore.ErrConflict) })
	demand(t, r, "events-1")
}

// TestALaterHoldersCheckpointFences the former one, which was frozen: it does not put its own in
// that one's place, but goes on from it if it gets the lease again.
func TestALaterHoldersCheckpointFences(t *testing.T) {
	i := install(t)
	r := i.sink("r", acme, nil)
	i.run("a")
	i.happen(acme, "k")
	demand(t, r, "events-1")
	name := eventstore.CheckpointState(r.id)
	var own eventstore.State
	until(t, "it has put its own", func() bool {
		var err error
		own, err = i.ledger.State(t.Context(), eventstore.Sinks, name)
		return err == nil && strings.Contains(string(own.Data), `"delivered":1`)
	})
	later := []byte(`{"cursor":{"p":[0,0],"i":0},"delivered":7,"term":1000}`)
	if _, err := i.ledger.PutState(t.Context(), eventstore.Sinks, name, own.Revision, later); err != nil {
		t.Fatal(err)
	}
	i.happen(acme, "k")
	until(t, "it goes on from the later one's", func() bool { return r.attempts() == 4 })
	until(t, "it has counted on", func() bool {
		now, err := i.ledger.State(t.Context(), eventstore.Sinks, name)
		return err == nil && strings.Contains(string(now.Data), `"delivered":9`)
	})
	demand(t, r, "events-1", "events-2")
}

// TestATestTellsWhatBecameOfIt, on a process that does not forward, also of a paused sink.
func TestATestTellsWhatBecameOfIt(t *testing.T) {
	i := install(t)
	r := i.sink("r", acme, func(s *forwarders.Sink) { s.Paused = true })
	r.answers(fails(transport.Failure{Kind: transport.Again, Status: 404, Text: "nothing there"}))
	e := i.engine("a")
	if a, err := e.TestSink(t.Context(), r.id, 0); err != nil || a.Failed != 1 || a.Error != "nothing there" {
		t.Errorf("%+v: %v", a, err)
	}
	r.answers(nil)
	if a, err := e.TestSink(t.Context(), r.id, 0); err != nil || a.Failed != 0 || !strings.HasPrefix(a.First, "0123abcd-test-") || strings.Contains(a.First, ".") {
		t.Errorf("%+v: %v", a, err)
	}
	if got := r.got; len(got) != 1 || got[0].Type != "sink.test" || !strings.Contains(string(got[0].Body), `"type":"sink.test"`) {
		t.Errorf("it got %+v", got)
	}
	if _, err := e.TestSink(t.Context(), domain.NewSinkID(acme, "none"), 0); !errors.Is(err, domain.ErrSinkNotFound) {
		t.Errorf("of none: %v", err)
	}
}

// TestATestEndsTheBackOff if it succeeds, whichever process is asked for it: the receiver is back.
func TestATestEndsTheBackOff(t *testing.T) {
	i := install(t)
	later := fails(transport.Failure{Kind: transport.Again, Status: 503, After: time.Hour, Text: "later"})
	var all []*receiver
	for n := range 7 { // more than it takes to break their circuit
		r := i.sink(fmt.Sprint(n), acme, func(s *forwarders.Sink) { s.URL = "https://siem.example" })
		r.answers(later)
		all = append(all, r)
	}
	i.happen(acme, "k")
	e, _ := i.run("a")
	failing := func(r *receiver) bool {
		s, err := e.SinkStatus(t.Context(), r.id)
		return err == nil && !s.NextAttemptAt.IsZero()
	}
	until(t, "five have failed", func() bool {
		n := 0
		for _, r := range all {
			if failing(r) {
				n++
			}
		}
		return n >= 5
	})
	n := slices.IndexFunc(all, failing)
	asked := i.engine("b")
	if a, err := asked.TestSink(t.Context(), all[n].id, 0); err != nil || a.Error != "later" {
		t.Fatalf("%+v: %v", a, err)
	}
	all[n].answers(nil)
	if a, err := asked.TestSink(t.Context(), all[n].id, 0); err != nil || a.Failed != 0 {
		t.Fatalf("%+v: %v", a, err)
	}
	until(t, "it got the event", func() bool { return slices.Contains(all[n].sequences(), "events-1") })
}

// TestAFileIsTestedByItsOneWriter, if it has one.
func TestAFileIsTestedByItsOneWriter(t *testing.T) {
	i := install(t)
	r := i.sink("file", domain.Installation, func(s *forwarders.Sink) { s.Type = domain.SinkFile })
	e, _ := i.run("a")
	i.happen(acme, "k")
	demand(t, r, "events-1")
	test := func() {
		t.Helper()
		if a, err := e.TestSink(t.Context(), r.id, 0); err != nil || a.Failed != 0 {
			t.Fatalf("%+v: %v", a, err)
		}
	}
	test()
	if n := i.made(r); n != 1 {
		t.Errorf("%d writers were made for one that runs", n)
	}
	i.change(r.id, func(s *forwarders.Sink) { s.Paused = true })
	test()
}

// TestAStreamIsThereWithItsSink, before the first event, and also while the sink is paused.
func TestAStreamIsThereWithItsSink(t *testing.T) {
	i := install(t)
	for name, paused := range map[string]bool{"active": false, "paused": true} {
		i.sink(name, acme, func(s *forwarders.Sink) { s.Type, s.Paused = domain.SinkStream, paused })
	}
	i.run("a")
	js := eventstoretest.JetStream(t, i.server)
	for id := range i.receivers {
		until(t, "its consumer is there", func() bool {
			_, err := js.Consumer(t.Context(), fmt.Sprintf("KEYTRAIL_STREAM_%s_%s", acme, id), eventstore.SinkConsumer)
			return err == nil
		})
	}
}

// TestADeletedSinkLeavesNothing on the ledger's side streams.
func TestADeletedSinkLeavesNothing(t *testing.T) {
	i := install(t)
	r := i.sink("r", acme, nil)
	i.sink("stays", acme, nil)
	i.run("a")
	i.happen(acme, "k")
	demand(t, r, "events-1")
	i.mu.Lock()
	delete(i.sinks, r.id)
	close(i.changed)
	i.changed = make(chan struct{})
	i.mu.Unlock()
	until(t, "its checkpoint is gone", func() bool {
		s, err := i.ledger.State(t.Context(), eventstore.Sinks, eventstore.CheckpointState(r.id))
		return err == nil && s.Revision == 0
	})
	i.happen(acme, "k")
	demand(t, i.receivers[domain.NewSinkID(acme, "stays")], "events-1", "events-2")
	demand(t, r, "events-1")
}

// TestWhatIsLeftOfADeletedSinkIsSwept, when a process begins to forward, and nothing else is.
func TestWhatIsLeftOfADeletedSinkIsSwept(t *testing.T) {
	i := install(t)
	stays := i.sink("stays", acme, func(s *forwarders.Sink) { s.Paused = true }).id
	left := map[string]domain.SinkID{}
	for _, what := range []string{"checkpoint", "replay", "attempts", "dead letters", "stream"} {
		left[what] = domain.NewSinkID(acme, what)
	}
	_, err := i.ledger.PutState(t.Context(), eventstore.Sinks, eventstore.CheckpointState(left["checkpoint"]), 0, []byte("{}"))
	_, errReplay := i.ledger.PutState(t.Context(), eventstore.Sinks, eventstore.ReplayState(left["replay"]), 0, []byte("{}"))
	_, errStream := i.ledger.SinkStream(t.Context(), acme, left["stream"], time.Hour)
	_, errStays := i.ledger.SinkStream(t.Context(), acme, stays, time.Hour)
	if err := errors.Join(err, errReplay, errStream, errStays, i.ledger.AddAttempt(left["attempts"], []byte("{}")), i.ledger.AddAttempt(stays, []byte("{}")),
		i.ledger.AddDeadLetter(t.Context(), left["dead letters"], "e", []byte("{}")), i.ledger.AddDeadLetter(t.Context(), stays, "e", []byte("{}"))); err != nil {
		t.Fatal(err)
	}
	count := func() int {
		kept, err := i.ledger.KeptSinks(t.Context())
		if err != nil || !kept[stays] {
			t.Errorf("%v are kept: %v", kept, err)
		}
		return len(kept)
	}
	until(t, "the ledger has all of them", func() bool { return count() == 6 })
	i.run("a")
	until(t, "one is left", func() bool { return count() == 1 })
	_, err = eventstoretest.JetStream(t, i.server).Stream(t.Context(), fmt.Sprintf("KEYTRAIL_STREAM_%s_%s", acme, stays))
	attempts, errAttempts := i.ledger.Attempts(t.Context(), stays)
	letters, errLetters := i.ledger.DeadLetters(t.Context(), stays, 0, 10)
	if err := errors.Join(err, errAttempts, errLetters); err != nil || len(attempts) != 1 || len(letters) != 1 {
		t.Errorf("%d attempts, %d dead letters: %v", len(attempts), len(letters), err)
	}
}

// TestWhatIsNotThereAnyMoreIsAGap, and the sink goes on after it.
func TestWhatIsNotThereAnyMoreIsAGap(t *testing.T) {
	i := install(t)
	for range 4 {
		i.use(acme, "k", 0, domain.UseValid)
	}
	s, err := eventstoretest.JetStream(t, i.server).Stream(t.Context(), "KEYTRAIL_USES")
	if err == nil {
		err = s.Purge(t.Context(), jetstream.WithPurgeSequence(4))
	}
	if err != nil {
		t.Fatal(err)
	}
	pruned := i.sink("pruned", acme, func(s *forwarders.Sink) { s.Start = eventstore.CursorAfter(0, 1) })
	beyond := i.sink("beyond", acme, func(s *forwarders.Sink) { s.Start = eventstore.CursorAfter(7, 4) })
	i.run("a")
	demand(t, pruned, "uses-4-0")
	i.happen(acme, "k")
	demand(t, beyond, "events-1")
	i.mu.Lock()
	defer i.mu.Unlock()
	slices.SortFunc(i.gaps, func(a, b domain.SinkSpan) int { return strings.Compare(a.Stream, b.Stream) })
	if want := []domain.SinkSpan{{Stream: "events", From: 1, To: 7, Reason: "restored"}, {Stream: "uses", From: 2, To: 3, Reason: "pruned"}}; !slices.Equal(i.gaps, want) {
		t.Errorf("there are %+v, want %+v", i.gaps, want)
	}
}

// TestASinkThatRejectsEverythingPauses: no dead letter is thrown away.
func TestASinkThatRejectsEverythingPauses(t *testing.T) {
	i := install(t)
	r := i.sink("r", acme, nil)
	r.limits.Events = 500
	r.answers(fails(transport.Failure{Kind: transport.Rejected, Status: 400, Text: "no"}))
	for range 12 {
		i.use(acme, "k", 0, slices.Repeat([]domain.Outcome{domain.UseValid}, 100)...)
	}
	e, _ := i.run("a")
	until(t, "it has paused", func() bool { i.mu.Lock(); defer i.mu.Unlock(); return strings.HasPrefix(i.stopped[r.id], "rejected: ") })
	if letters, err := e.SinkDeadLetters(t.Context(), r.id, 0, 10_000); err != nil || len(letters) != 1000 {
		t.Errorf("%d dead letters: %v", len(letters), err)
	}
	r.answers(nil)
	i.change(r.id, func(s *forwarders.Sink) { s.Paused = false })
	until(t, "the rest has come", func() bool { return len(r.sequences()) >= 200 })
	if got := r.sequences(); len(got) != 200 || got[0] != "uses-11-0" {
		t.Errorf("%d came, from %s on", len(got), got[0])
	}
}
