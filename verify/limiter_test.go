package verify_test

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/verify"
)

// limitWindow and limit are of the key in the tests of clocks.
const (
	limitWindow = time.Minute
	limit       = 3
)

func limitedDesk(t *testing.T) *desk {
	d := open(t, verify.Relaxed)
	d.key(domain.KeyCreated{Settings: domain.Settings{Name: "limited", RateLimits: []domain.RateLimit{{Limit: limit, Window: domain.Duration(limitWindow)}}}})
	return d
}

// exhaust uses the key until it is refused, and tells how often it was valid.
func (d *desk) exhaust() (valid int) {
	d.t.Helper()
	for {
		a, err := d.ask(verify.Request{Secret: "limited"})
		if err != nil || valid > limit {
			d.t.Fatalf("%d were valid, %v", valid, err)
		}
		if a.Outcome != domain.UseValid {
			return valid
		}
		valid++
	}
}

// A clock that was ahead and is put right blocks nothing.
func TestAClockThatIsPutRight(t *testing.T) {
	d := limitedDesk(t)
	for _, step := range []struct {
		by   time.Duration
		want int
	}{{0, limit}, {limitWindow / 60, 0}, {24 * time.Hour, limit}, {-24 * time.Hour, limit}, {limitWindow, limit}, {-48 * time.Hour, limit}} {
		d.clock.Add(step.by.Milliseconds())
		if n := d.exhaust(); n != step.want {
			t.Errorf("after %s, %d of %d uses were valid, want %d", step.by, n, limit, step.want)
		}
		d.Sweep()
	}
	d.close()
}

// Whatever the clock does, no window as it tells them lets more through than the limit, but
// for what a jump explains: it may begin each window that it reaches anew. And a key is
// never refused for longer than one window by the limit.
func TestNoClockBlocksAKey(t *testing.T) {
	d := limitedDesk(t)
	base := d.clock.Load()
	rapid.Check(t, func(rt *rapid.T) {
		base += 1000 * limitWindow.Milliseconds() // apart from what was before
		d.clock.Store(base)
		jumps, valid := 0, map[int64]int{}
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			switch rapid.IntRange(0, 4).Draw(rt, "step") {
			case 0:
				d.clock.Add(rapid.Int64Range(-3, 3).Draw(rt, "windows") * limitWindow.Milliseconds())
				jumps++
			case 1:
				d.clock.Add(rapid.Int64Range(0, limitWindow.Milliseconds()).Draw(rt, "passes"))
			default:
				a, err := d.ask(verify.Request{Secret: "limited"})
				if err != nil {
					rt.Fatal(err)
				}
				if a.Outcome == domain.UseValid {
					valid[d.clock.Load()/limitWindow.Milliseconds()]++
				}
			}
		}
		for window, n := range valid {
			if n > limit*(1+jumps) {
				rt.Fatalf("%d uses were valid in window %d after %d jumps, limit %d", n, window, jumps, limit)
			}
		}
		d.clock.Add(limitWindow.Milliseconds())
		d.exhaust()
		d.clock.Add(limitWindow.Milliseconds())
		if a, err := d.ask(verify.Request{Secret: "limited"}); err != nil || a.Outcome != domain.UseValid {
			rt.Fatalf("a window later the outcome is %s, %v", a.Outcome, err)
		}
	})
	d.close()
}

// A use counts as often as it costs, in each window and also when the process starts again in the
// middle of them; one that costs more than is left takes nothing.
func TestAUseCountsAsOftenAsItCosts(t *testing.T) {
	d := open(t, verify.Durable)
	d.key(domain.KeyCreated{Settings: domain.Settings{Name: "limited", RateLimits: []domain.RateLimit{
		{Limit: 10, Window: domain.Duration(time.Minute)}, {Limit: 100, Window: domain.Duration(time.Hour)}}}})
	verifiers := []*verify.Verifier{d.Verifier}
	for i, step := range []struct {
		cost         int64
		want         domain.Outcome
		minute, hour int64 // that remain
		reset        time.Time
	}{
		{6, domain.UseValid, 4, 94, time.Time{}},
		{5, domain.UseRateLimited, 4, 94, noon.Add(time.Minute)},
		{0, domain.UseValid, 3, 93, time.Time{}},
		{domain.MaxCost, domain.UseRateLimited, 3, 93, noon.Add(time.Hour)},
		{3, domain.UseValid, 0, 90, time.Time{}},
		{1, domain.UseRateLimited, 0, 90, noon.Add(time.Minute)},
	} {
		a, err := d.ask(verify.Request{Secret: "limited", Cost: step.cost})
		if err != nil || a.Outcome != step.want || a.Limits[0].Remaining != step.minute || a.Limits[1].Remaining != step.hour {
			t.Errorf("step %d is answered %s with %+v, %v; want %+v", i, a.Outcome, a.Limits, err, step)
		}
		if a.Outcome == domain.UseRateLimited && a.Reset() != step.reset.Unix() {
			t.Errorf("step %d: there is room at %d, want %d", i, a.Reset(), step.reset.Unix())
		}
		d.restart()
		verifiers = append(verifiers, d.Verifier)
	}
	for _, d.Verifier = range verifiers {
		d.close()
	}
	var costs []int64
	for _, u := range recorded[domain.KeyUsed](d, eventstore.Uses) {
		costs = append(costs, u.Cost)
	}
	if want := []int64{6, 5, 0, domain.MaxCost, 3, 0}; !slices.Equal(costs, want) {
		t.Errorf("the ledger has the costs %d, want %d", costs, want)
	}
}

// restart goes on with a verifier that has nothing in memory, once the read model has all uses.
func (d *desk) restart() {
	d.t.Helper()
	end, err := d.ledger.End(d.t.Context(), eventstore.Uses)
	if err == nil {
		err = d.store.WaitForUses(d.t.Context(), end)
	}
	if err != nil {
		d.t.Fatal(err)
	}
	d.Verifier = verify.New(d.store, d.ledger, verify.Options{Now: func() time.Time { return time.UnixMilli(d.clock.Load()) }})
}
