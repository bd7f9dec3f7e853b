package verify_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/verify"
)

// large is a request id with which two uses fill a message.
func large(i int) string { return fmt.Sprint(i, "-", strings.Repeat("x", 40<<10)) }

// askMany sends n requests at once and gives the error of each.
func (d *desk) askMany(n int) []error {
	ctx, cancel := context.WithTimeout(d.t.Context(), 30*time.Second) // what hangs is to fail
	defer cancel()
	errs := make([]error, n)
	var askers sync.WaitGroup
	for i := range n {
		askers.Go(func() {
			var a verify.Answer
			errs[i] = d.Verify(ctx, &verify.Request{Secret: "good", By: d.asker, RequestID: large(i)}, &a)
		})
	}
	askers.Wait()
	return errs
}

// times is how often each request is on the ledger.
func (d *desk) times() map[string]int {
	d.t.Helper()
	times := map[string]int{}
	for _, u := range recorded[domain.KeyUsed](d, eventstore.Uses) {
		times[u.RequestID]++
	}
	return times
}

// Many batches wait behind one that the ledger does not take. Each of their uses is refused
// at its own deadline, while that batch is still under way, and none is written twice.
func TestEachUseHasItsOwnDeadline(t *testing.T) {
	verify.SetUseTimeout(t, 100*time.Millisecond)
	fault, release := stuck()
	d := openWith(t, verify.Options{}, (&faulty{uses: fault}).on)
	d.key(domain.KeyCreated{Settings: domain.Settings{Name: "good"}})
	for i, err := range d.askMany(20) {
		if !errors.Is(err, domain.ErrLedgerUnavailable) {
			t.Errorf("request %d: %v", i, err)
		}
	}
	release()
	d.close()
	if times := d.times(); len(times) > 2 {
		t.Errorf("%d refused uses are on the ledger; only those of the batch under way can be", len(times))
	}
}

// A use that waited for room, or that is decided about again, comes into a batch with uses
// that have more time. It is refused at its own deadline, and takes none of theirs.
func TestALateUseLeavesTheOthersTheirTime(t *testing.T) {
	fault, release := stuck()
	began := make(chan struct{}, 3)
	metrics := prometheus.NewRegistry()
	d := openWith(t, verify.Options{Metrics: metrics}, (&faulty{uses: func(append func() error) error { began <- struct{}{}; return fault(append) }}).on)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // what hangs is to fail
	defer cancel()
	record := func(id string, deadline time.Time) error {
		return d.Record(ctx, d.org, &domain.KeyUsed{Key: domain.NewKeyID(d.org, "key"), Code: domain.UseValid, RequestID: id, At: noon}, deadline)
	}
	later := time.Now().Add(time.Hour)
	early := make(chan error, 2)
	go func() { early <- record("under way", later) }()
	<-began
	go func() { early <- record("waits", later) }()
	for values(t, metrics, "keytrail_uses_waiting")[""] != 2 && ctx.Err() == nil {
		runtime.Gosched()
	}
	if err := record("late", time.Now()); !errors.Is(err, domain.ErrLedgerUnavailable) {
		t.Errorf("the late use: %v", err)
	}
	release()
	for range 2 {
		if err := <-early; err != nil {
			t.Error(err)
		}
	}
}

// What relaxed verification answered survives an outage: what was written without an
// acknowledgement, too, is on the ledger once.
func TestRelaxedKeepsWhatItAnswered(t *testing.T) {
	for name, fault := range map[string]func(int64) func(func() error) error{"written": losing, "not written": failing} {
		t.Run(name, func(t *testing.T) {
			verify.SetRepeat(t, time.Minute, time.Millisecond)
			metrics := prometheus.NewRegistry()
			d := openWith(t, verify.Options{Durability: verify.Relaxed, Metrics: metrics}, (&faulty{uses: fault(5)}).on)
			d.key(domain.KeyCreated{Settings: domain.Settings{Name: "good"}})
			for i, err := range d.askMany(20) {
				if err != nil {
					t.Errorf("request %d: %v", i, err)
				}
			}
			d.close()
			times := d.times()
			for i := range 20 {
				if n := times[large(i)]; n != 1 {
					t.Errorf("request %d is on the ledger %d times", i, n)
				}
			}
			expect(t, metrics, "keytrail_uses_lost_total", map[string]float64{"summed": 0, "singly": 0})
			expect(t, metrics, "keytrail_uses_waiting", map[string]float64{"": 0})
		})
	}
}

// Relaxed verification keeps so much, and for so long, and then refuses. What it had
// answered until then is not lost by that.
func TestRelaxedIsBounded(t *testing.T) {
	for name, bound := range map[string]func(*verify.Options){
		"memory": func(o *verify.Options) { o.BufferBytes = 200 << 10 },
		"time":   func(*verify.Options) { verify.SetMaxWait(t, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			verify.SetUseTimeout(t, 50*time.Millisecond)
			fault, release := stuck()
			metrics := prometheus.NewRegistry()
			o := verify.Options{Durability: verify.Relaxed, Metrics: metrics}
			bound(&o)
			d := openWith(t, o, (&faulty{uses: fault}).on)
			d.key(domain.KeyCreated{Settings: domain.Settings{Name: "good"}})
			answered, refused := map[string]bool{}, 0
			for i, err := range d.askMany(20) {
				switch {
				case err == nil:
					answered[large(i)] = true
				case errors.Is(err, domain.ErrLedgerUnavailable):
					refused++
				default:
					t.Error(err)
				}
			}
			if len(answered) == 0 || refused == 0 {
				t.Errorf("%d were answered, %d refused", len(answered), refused)
			}
			expect(t, metrics, "keytrail_uses_waiting", map[string]float64{"": float64(len(answered))})
			release()
			d.close()
			if times := d.times(); len(times) != len(answered) {
				t.Errorf("%d uses are on the ledger, %d were answered", len(times), len(answered))
			}
		})
	}
}

// A use that was answered and that the ledger does not take in time is counted as lost.
func TestWhatRelaxedLosesIsCounted(t *testing.T) {
	verify.SetRepeat(t, time.Millisecond, time.Millisecond)
	metrics := prometheus.NewRegistry()
	d := openWith(t, verify.Options{Durability: verify.Relaxed, Metrics: metrics}, (&faulty{uses: failing(1 << 20)}).on)
	d.key(domain.KeyCreated{Settings: domain.Settings{Name: "good"}})
	for range 3 {
		if _, err := d.ask(verify.Request{Secret: "good"}); err != nil {
			t.Fatal(err)
		}
	}
	d.close()
	expect(t, metrics, "keytrail_uses_lost_total", map[string]float64{"summed": 0, "singly": 3})
}
