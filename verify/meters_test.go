package verify_test

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/verify"
)

// onPlan gives the test's organization a plan.
func (d *desk) onPlan(p domain.PlanDefinition) {
	d.put(eventstore.PlanRef("plan"), domain.PlanDefined{Name: "plan", Definition: p, Header: at})
	d.put(eventstore.OrganizationRef(d.org), domain.OrganizationUpdated{Plan: new("plan"), Header: at})
}

func TestWhatAPlanForbids(t *testing.T) {
	d := open(t, verify.Relaxed)
	minute := domain.Duration(time.Minute)
	d.key(domain.KeyCreated{Settings: domain.Settings{Name: "key", Scopes: []string{"a:*", "b:read"}}})
	d.key(domain.KeyCreated{Settings: domain.Settings{Name: "fast", RateLimits: []domain.RateLimit{{Limit: 1000, Window: minute}}}})
	d.key(domain.KeyCreated{Settings: domain.Settings{Name: "slow", RateLimits: []domain.RateLimit{{Limit: 3, Window: minute}, {Limit: 50, Window: domain.Duration(time.Hour)}}}})
	d.key(domain.KeyCreated{Settings: domain.Settings{Name: "admin", Scopes: []string{"*"}}, Keyspace: domain.ManagementKeyspace})
	check := func(secret string, want domain.Outcome, scopes ...string) verify.Answer {
		t.Helper()
		a, err := d.ask(verify.Request{Secret: secret, Scopes: scopes})
		if err != nil || a.Outcome != want {
			t.Errorf("%s for %v is answered %s, %v; want %s", secret, scopes, a.Outcome, err, want)
		}
		return a
	}
	check("key", domain.UseValid, "b:read")
	d.onPlan(domain.PlanDefinition{ProgrammaticAccess: true, Scopes: []string{"a:read", "c:*"}, RateLimits: []domain.RateLimit{{Limit: 10, Window: minute}}})
	if a := check("key", domain.UseValid, "a:read"); len(a.Credential.Scopes) != 1 || a.Credential.Scopes[0] != "a:read" || len(a.Limits) != 1 || a.Limits[0].Limit != 10 {
		t.Errorf("the key has the scopes %v and the limits %v", a.Credential.Scopes, a.Limits)
	}
	check("key", domain.UsePlanForbids, "b:read")
	check("key", domain.UsePlanForbids, "a:write")
	check("key", domain.UseInsufficientScope, "c:read")
	if a := check("fast", domain.UseValid); len(a.Limits) != 1 || a.Limits[0].Limit != 10 {
		t.Errorf("a key with a higher limit has %v", a.Limits)
	}
	if a := check("slow", domain.UseValid); len(a.Limits) != 2 || a.Limits[0].Limit != 3 || a.Limits[1].Limit != 50 {
		t.Errorf("a key with a lower limit has %v", a.Limits)
	}
	d.put(eventstore.PlanRef("plan"), domain.PlanUpdated{Name: "plan", Definition: domain.PlanDefinition{}, Header: at})
	check("key", domain.UsePlanForbids)
	if _, err := d.Authenticate(t.Context(), verify.AuthRequest{Secret: "admin", Scope: "keys:read"}); err != nil {
		t.Errorf("a management key is of no plan: %v", err)
	}
	d.put(eventstore.OrganizationRef(d.org), domain.OrganizationUpdated{Plan: new(""), Header: at})
	check("key", domain.UseValid, "b:read")
	d.close()
}

// A monthUse is a use of one of the test's keys.
type monthUse struct {
	key, owner string
}

var monthUses = []monthUse{{"one", "ann"}, {"two", "ann"}, {"three", "ben"}, {"four", ""}}

var monthPlan = domain.PlanDefinition{ProgrammaticAccess: true, UsesAMonth: new(int64(20)), UsesAMonthPerOwner: new(int64(12)), UsesAMonthPerKey: new(int64(9))}

func monthDesk(t testing.TB) *desk {
	d := openWith(t, verify.Options{}, nil)
	for _, u := range monthUses {
		d.key(domain.KeyCreated{Settings: domain.Settings{Name: u.key, Owner: u.owner, RateLimits: []domain.RateLimit{{Limit: 1000, Window: domain.Duration(time.Minute)}}}})
	}
	d.onPlan(monthPlan)
	return d
}

// Whatever the clock does, and however often the process starts again, a month's uses are valid as long
// as a plain count of them allows.
func TestQuotasOfAMonthAgreeWithAPlainCount(t *testing.T) {
	d := monthDesk(t)
	type meter struct{ month, of string }
	counts := map[meter]int64{}
	rapid.Check(t, func(rt *rapid.T) {
		for range rapid.IntRange(5, 20).Draw(rt, "steps") {
			switch rapid.IntRange(0, 9).Draw(rt, "what") {
			case 0:
				d.restart()
			case 1:
				d.clock.Add(rapid.Int64Range(-70, 75).Draw(rt, "days") * 24 * time.Hour.Milliseconds())
			case 2: // to the last moments of a month, or the first ones of the next
				now := time.UnixMilli(d.clock.Load()).UTC()
				d.clock.Store(domain.MonthAt(now).End().UnixMilli() + rapid.Int64Range(-2, 1).Draw(rt, "ms"))
			default:
				u := rapid.SampledFrom(monthUses).Draw(rt, "key")
				cost := rapid.Int64Range(1, 4).Draw(rt, "cost")
				month := time.UnixMilli(d.clock.Load()).UTC().Format("2006-01")
				left := map[domain.UsesOf]int64{domain.UsesOfOrganization: 20 - counts[meter{month, ""}], domain.UsesOfKey: 9 - counts[meter{month, "key " + u.key}]}
				if u.owner != "" {
					left[domain.UsesOfOwner] = 12 - counts[meter{month, "owner " + u.owner}]
				}
				want := domain.UseValid
				for _, n := range left {
					if n < cost {
						want = domain.UseQuotaExceeded
					}
				}
				a, err := d.ask(verify.Request{Secret: u.key, Cost: cost})
				if err != nil || a.Outcome != want {
					rt.Fatalf("in %s a use of %s that costs %d is %s, %v; want %s, left %v", month, u.key, cost, a.Outcome, err, want, left)
				}
				if want == domain.UseValid {
					for of := range left {
						left[of] -= cost
					}
					counts[meter{month, ""}] += cost
					counts[meter{month, "key " + u.key}] += cost
					counts[meter{month, "owner " + u.owner}] += cost
				}
				if len(a.Quotas) != len(left) {
					rt.Fatalf("%d quotas, want %d", len(a.Quotas), len(left))
				}
				for _, q := range a.Quotas {
					if q.Remaining != left[q.Of] || time.Unix(q.Reset(), 0).UTC().AddDate(0, -1, 0).Format("2006-01") != month {
						rt.Fatalf("in %s of the %s remain %d until %d, want %d", month, q.Of, q.Remaining, q.Reset(), left[q.Of])
					}
				}
			}
		}
	})
	d.close()
}

// Of many uses at the same moment exactly as many are valid as the plan allows.
func TestQuotasAreExactAtOnce(t *testing.T) {
	d := openWith(t, verify.Options{}, nil)
	for _, name := range []string{"a", "b", "c"} {
		d.key(domain.KeyCreated{Settings: domain.Settings{Name: name, Owner: "user"}})
	}
	d.onPlan(domain.PlanDefinition{ProgrammaticAccess: true, UsesAMonth: new(int64(100)), UsesAMonthPerOwner: new(int64(1000)), UsesAMonthPerKey: new(int64(40))})
	var valid, exceeded atomic.Int64
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			for n := range 20 {
				a, err := d.ask(verify.Request{Secret: []string{"a", "b", "c"}[(i+n)%3]})
				switch {
				case err != nil:
					t.Error(err)
				case a.Outcome == domain.UseValid:
					valid.Add(1)
				case a.Outcome == domain.UseQuotaExceeded:
					exceeded.Add(1)
				}
			}
		})
	}
	all.Wait()
	if valid.Load() != 100 || exceeded.Load() != 220 {
		t.Errorf("%d uses were valid and %d exceeded the quota, want 100 and 220", valid.Load(), exceeded.Load())
	}
	d.restart()
	if a, err := d.ask(verify.Request{Secret: "a"}); err != nil || a.Outcome != domain.UseQuotaExceeded {
		t.Errorf("after another start the outcome is %s, %v", a.Outcome, err)
	}
	d.close()
}

// Of more keys than the plan allows the oldest go on working, whatever becomes of them.
func TestTheOldestKeysOfAPlanWork(t *testing.T) {
	d := open(t, verify.Relaxed)
	var ids []domain.KeyID // all are created at the same moment, so that their ids decide
	names := map[domain.KeyID]string{}
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g"} {
		id := d.key(domain.KeyCreated{Settings: domain.Settings{Name: name}})
		ids, names[id] = append(ids, id), name
	}
	slices.Sort(ids)
	atMost := func(n int) {
		d.put(eventstore.PlanRef("plan"), domain.PlanDefined{Name: "plan", Definition: domain.PlanDefinition{ProgrammaticAccess: true, KeysAtMost: &n}, Header: at})
	}
	works := func(want ...int) {
		t.Helper()
		for i, id := range ids {
			a, err := d.ask(verify.Request{Secret: names[id]})
			switch {
			case err != nil:
				t.Error(err)
			case slices.Contains(want, i) != (a.Outcome == domain.UseValid) || a.Outcome != domain.UseValid && !slices.Contains([]domain.Outcome{domain.UsePlanForbids, domain.UseRevoked, domain.UseDisabled}, a.Outcome):
				t.Errorf("key %d is answered %s; those that work are to be %v", i, a.Outcome, want)
			}
		}
	}
	d.onPlan(domain.PlanDefinition{ProgrammaticAccess: true, KeysAtMost: new(2)})
	works(0, 1)
	atMost(6)
	works(0, 1, 2, 3, 4, 5)
	d.put(eventstore.KeyRef(d.org, ids[1]), domain.KeyRevoked{Header: at})
	works(0, 2, 3, 4, 5, 6)
	atMost(1)
	works(0)
	d.put(eventstore.KeyRef(d.org, ids[0]), domain.KeyDisabled{Header: at}) // which may be enabled again
	if a, err := d.ask(verify.Request{Secret: names[ids[2]]}); err != nil || a.Outcome != domain.UsePlanForbids {
		t.Errorf("beside a disabled key the next one is answered %s, %v", a.Outcome, err)
	}
	atMost(0)
	works()
	d.put(eventstore.OrganizationRef(d.org), domain.OrganizationUpdated{Plan: new(""), Header: at})
	if a, err := d.ask(verify.Request{Secret: names[ids[6]]}); err != nil || a.Outcome != domain.UseValid {
		t.Errorf("without a plan a key is answered %s, %v", a.Outcome, err)
	}
	d.close()
}

// Sessions count in the quotas of the organization and of their user, also after another start.
func TestSessionsCountInQuotas(t *testing.T) {
	i := issuer(t, 1)
	d := openWith(t, verify.Options{Tokens: i}, nil)
	d.settle()
	d.key(domain.KeyCreated{Settings: domain.Settings{Name: "key", Owner: string(ada)}})
	d.onPlan(domain.PlanDefinition{ProgrammaticAccess: true, UsesAMonth: new(int64(9)), UsesAMonthPerOwner: new(int64(3)), UsesAMonthPerKey: new(int64(9))})
	for _, name := range []string{"first", "second"} {
		if got := d.outcomeOf(d.session(i, name, 1)); got != domain.UseValid {
			t.Errorf("the %s session is %s", name, got)
		}
	}
	if _, err := d.ask(verify.Request{Secret: "key"}); err != nil {
		t.Fatal(err)
	}
	d.restart()
	a, err := d.ask(verify.Request{Secret: "key"})
	if err != nil || a.Outcome != domain.UseQuotaExceeded || len(a.Quotas) != 3 || a.Quotas[0].Remaining != 6 || a.Quotas[1].Remaining != 0 || a.Quotas[2].Remaining != 8 {
		t.Errorf("after two uses by sessions and one of the key it is answered %s, %+v, %v", a.Outcome, a.Quotas, err)
	}
	d.close()
}
