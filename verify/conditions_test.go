package verify_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/verify"
)

// put writes an event of another aggregate than a key, and returns when the read model has it.
func (d *desk) put(ref eventstore.Ref, e domain.Event) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	end, err := d.ledger.Load(ctx, ref, 0, func(eventstore.Record) {})
	var p eventstore.Position
	if err == nil {
		p, err = d.ledger.Append(ctx, ref, end, eventstore.Command{}, e)
	}
	if err == nil {
		err = d.store.WaitFor(ctx, p)
	}
	if err != nil {
		d.t.Error(err)
	}
}

var at = domain.Header{At: noon}

func (d *desk) suspend() {
	d.put(eventstore.OrganizationRef(d.org), domain.OrganizationSuspended{Header: at})
}

func (d *desk) resume() {
	d.put(eventstore.OrganizationRef(d.org), domain.OrganizationResumed{Header: at})
}

// knows gives the owner of the test's key, and its organization, attributes.
func (d *desk) knows(owner, organization domain.Attributes) {
	d.put(eventstore.OwnerRef(d.org, "user"), domain.OwnerUpdated{Owner: "user", Attributes: owner, Header: at})
	d.put(eventstore.OrganizationRef(d.org), domain.OrganizationUpdated{Attributes: &organization, Header: at})
}

// requires gives the default keyspace requirements: one of the owner, and one of the organization.
func (d *desk) requires(names ...string) {
	k, _ := d.store.Keyspaces().Named(domain.DefaultKeyspace)
	definition := k.KeyspaceDefinition
	definition.Requirements = nil
	for i, name := range names {
		definition.Requirements = append(definition.Requirements, domain.Requirement{Attribute: name, Of: []string{"owner", "organization"}[i%2]})
	}
	d.put(eventstore.KeyspaceRef(domain.DefaultKeyspace), domain.KeyspaceUpdated{Name: domain.DefaultKeyspace, Definition: definition, Header: at})
}

// The first requirement that is not met decides, after all else but rate limits.
func TestRequirements(t *testing.T) {
	d := open(t, verify.Relaxed)
	d.key(domain.KeyCreated{Settings: domain.Settings{Name: "key", Owner: "user", RateLimits: []domain.RateLimit{{Limit: 1, Window: domain.Duration(time.Hour)}}}})
	d.key(domain.KeyCreated{Settings: domain.Settings{Name: "anonymous"}})
	d.key(domain.KeyCreated{Settings: domain.Settings{Name: "namesake", Owner: "user"}, Org: domain.NewOrgID("other")})
	d.asker = domain.Principal{ID: "gateway", Org: domain.Installation}
	d.requires("discord_id", "plan")
	check := func(secret string, outcome domain.Outcome, unmet int) {
		t.Helper()
		a, err := d.ask(verify.Request{Secret: secret})
		if err != nil || a.Outcome != outcome || a.Unmet != unmet || a.Keyspace.Name != domain.DefaultKeyspace {
			t.Errorf("%s is answered %s, requirement %d, %v; want %s, %d", secret, a.Outcome, a.Unmet, err, outcome, unmet)
		}
	}
	check("key", domain.UseRequirementUnmet, 0)
	d.knows(domain.Attributes{"discord_id": ""}, domain.Attributes{"plan": "pro"})
	check("key", domain.UseRequirementUnmet, 0)
	d.knows(domain.Attributes{"discord_id": "8", "plan": "pro"}, domain.Attributes{"discord_id": "8"})
	check("key", domain.UseRequirementUnmet, 1)
	d.knows(domain.Attributes{"discord_id": "8"}, domain.Attributes{"plan": "pro"})
	check("key", domain.UseValid, -1)
	check("key", domain.UseRateLimited, -1)
	check("anonymous", domain.UseRequirementUnmet, 0)
	check("namesake", domain.UseRequirementUnmet, 0)
	d.knows(domain.Attributes{}, domain.Attributes{"plan": "pro"})
	check("key", domain.UseRequirementUnmet, 0)
	d.suspend()
	check("key", domain.UseOrgSuspended, 0)
	check("namesake", domain.UseRequirementUnmet, 0)
	d.resume()
	d.requires()
	check("anonymous", domain.UseValid, -1)
	d.close()
}

// However old a decision is when its use is on the ledger, what became of the organization, the
// owner and the keyspace meanwhile is answered, and recorded as well.
func TestConditionsAreAsNewAsTheReadModel(t *testing.T) {
	for name, c := range map[string]struct {
		happens func(*desk)
		want    []domain.Outcome
	}{
		"suspended":                {(*desk).suspend, []domain.Outcome{domain.UseValid, domain.UseOrgSuspended}},
		"resumed":                  {func(d *desk) { d.suspend(); d.resume() }, []domain.Outcome{domain.UseValid}},
		"owner's attribute gone":   {func(d *desk) { d.knows(domain.Attributes{}, domain.Attributes{"plan": "pro"}) }, []domain.Outcome{domain.UseValid, domain.UseRequirementUnmet}},
		"organization's gone":      {func(d *desk) { d.knows(domain.Attributes{"discord_id": "8"}, domain.Attributes{}) }, []domain.Outcome{domain.UseValid, domain.UseRequirementUnmet}},
		"another value":            {func(d *desk) { d.knows(domain.Attributes{"discord_id": "9"}, domain.Attributes{"plan": "free"}) }, []domain.Outcome{domain.UseValid}},
		"another requirement":      {func(d *desk) { d.requires("discord_id", "plan", "telegram") }, []domain.Outcome{domain.UseValid, domain.UseRequirementUnmet}},
		"requirements in question": {func(d *desk) { d.requires("discord_id") }, []domain.Outcome{domain.UseValid}},
	} {
		for mode, durability := range map[string]verify.Durability{"durable": verify.Durable, "relaxed": verify.Relaxed} {
			t.Run(name+" "+mode, func(t *testing.T) {
				var happens func()
				d := openWith(t, verify.Options{Durability: durability}, changing(&happens).on)
				d.key(domain.KeyCreated{Settings: domain.Settings{Name: "key", Owner: "user"}})
				d.requires("discord_id", "plan")
				d.knows(domain.Attributes{"discord_id": "8"}, domain.Attributes{"plan": "pro"})
				happens = func() { c.happens(d) }
				a, err := d.ask(verify.Request{Secret: "key"})
				if err != nil || a.Outcome != c.want[len(c.want)-1] || a.Position != d.store.Position() {
					t.Errorf("the answer is %s at %d, %v; want %s", a.Outcome, a.Position, err, c.want)
				}
				if k, _ := d.store.Keyspaces().Named(domain.DefaultKeyspace); a.Keyspace != k {
					t.Error("the answer has an older keyspace")
				}
				d.close()
				var got []domain.Outcome
				for _, u := range recorded[domain.KeyUsed](d, eventstore.Uses) {
					got = append(got, u.Code)
				}
				if fmt.Sprint(got) != fmt.Sprint(c.want) {
					t.Errorf("the ledger has %v, want %v", got, c.want)
				}
			})
		}
	}
}

// A suspended organization's management keys are refused, those in the cache of callers and
// those of streams too, and good again when it is resumed. The installation's are not concerned.
func TestManagementKeysOfASuspendedOrganization(t *testing.T) {
	d := open(t, verify.Durable)
	management := func(name string, org domain.OrgID) {
		d.key(domain.KeyCreated{Settings: domain.Settings{Name: name, Scopes: []string{"keys:verify"}}, Org: org, Keyspace: domain.ManagementKeyspace})
	}
	management("theirs", d.org)
	management("root", domain.Installation)
	var caller verify.Caller
	check := func(secret string, want error) {
		t.Helper()
		r := verify.AuthRequest{Secret: secret, Scope: "keys:verify"}
		_, first := d.Authenticate(t.Context(), r)
		c, second := d.AuthenticateVerifier(t.Context(), r)
		if caller.ID == "" && secret == "theirs" {
			caller = c
		}
		for _, err := range []error{first, second, d.StillMay(r)} {
			if !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", secret, err, want)
			}
		}
	}
	check("theirs", nil)
	d.suspend()
	if err := d.Recheck(&caller); !errors.Is(err, domain.ErrInvalidCredentials) {
		t.Errorf("a caller that is being answered: %v", err)
	}
	check("theirs", domain.ErrInvalidCredentials)
	check("root", nil)
	d.resume()
	check("theirs", nil)
	d.close()
}

// From the moment on when a suspension is in the read model no key of the organization is valid,
// however many ask and whenever they began.
func TestNoAnswerIsOlderThanASuspension(t *testing.T) {
	d := open(t, verify.Durable)
	d.key(domain.KeyCreated{Settings: domain.Settings{Name: "key"}})
	var changes atomic.Int64 // odd: suspended, or about to be resumed
	var asked atomic.Int64
	var askers sync.WaitGroup
	for range 8 {
		askers.Go(func() {
			for changes.Load() < 100 {
				before := changes.Load()
				a, err := d.ask(verify.Request{Secret: "key"})
				asked.Add(1)
				if err != nil || before%2 == 1 && before == changes.Load() && a.Outcome != domain.UseOrgSuspended {
					t.Errorf("after %d changes: %s, %v", before, a.Outcome, err)
				}
			}
		})
	}
	for changes.Load() < 100 {
		d.suspend()
		changes.Add(1)
		for enough := asked.Load() + 8; asked.Load() < enough; {
			runtime.Gosched()
		}
		changes.Add(1)
		d.resume()
	}
	askers.Wait()
	d.close()
}
