package verify_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/verify"
)

// change puts what became of a key on the ledger, and returns when the read model has it.
func (d *desk) change(id domain.KeyID, after eventstore.Position, e domain.Event) eventstore.Position {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	p, err := d.ledger.Append(ctx, eventstore.KeyRef(d.org, id), after, eventstore.Command{}, e)
	if err == nil {
		err = d.store.WaitFor(ctx, p)
	}
	if err != nil {
		d.t.Error(err)
	}
	return p
}

// changing is a ledger on which something happens after the first decision: before its use
// is written.
func changing(happens *func()) *faulty {
	var once sync.Once
	f := &faulty{}
	f.held = func() error {
		once.Do(func() { (*happens)() })
		return nil
	}
	return f
}

// However old a decision is when its use is on the ledger, the answer is not: what was
// changed meanwhile is answered, and recorded as well.
func TestAnAnswerIsAsNewAsTheReadModel(t *testing.T) {
	for _, c := range []struct {
		name string
		e    domain.Event
		want domain.Outcome
	}{
		{"revoked", domain.KeyRevoked{Header: domain.Header{At: noon}}, domain.UseRevoked},
		{"disabled", domain.KeyDisabled{Header: domain.Header{At: noon}}, domain.UseDisabled},
		{"narrowed", domain.KeyUpdated{Changes: domain.Changes{Scopes: &[]string{"b:read"}}, Header: domain.Header{At: noon}}, domain.UseInsufficientScope},
		{"kept", domain.OrganizationCreated{Header: domain.Header{At: noon}}, domain.UseValid},
	} {
		for mode, durability := range map[string]verify.Durability{"durable": verify.Durable, "relaxed": verify.Relaxed} {
			t.Run(fmt.Sprint(c.name, " ", mode), func(t *testing.T) {
				var happens func()
				d := openWith(t, verify.Options{Durability: durability}, changing(&happens).on)
				id := d.key(domain.KeyCreated{Settings: domain.Settings{Name: "key", Scopes: []string{"a:read", "b:read"}}})
				happens = func() {
					if e, ok := c.e.(domain.OrganizationCreated); ok { // another change than the key's
						e.ID = d.org
						p, err := d.ledger.Append(t.Context(), eventstore.OrganizationRef(d.org), 0, eventstore.Command{}, e)
						if err = errors.Join(err, d.store.WaitFor(t.Context(), p)); err != nil {
							t.Error(err)
						}
						return
					}
					d.change(id, 1, c.e)
				}
				a, err := d.ask(verify.Request{Secret: "key", Scopes: []string{"a:read"}})
				if err != nil || a.Outcome != c.want || a.Position != 2 {
					t.Errorf("the answer is %s at %d, %v; want %s at 2", a.Outcome, a.Position, err, c.want)
				}
				d.close()
				want := []domain.Outcome{domain.UseValid}
				if c.want != domain.UseValid {
					want = append(want, c.want)
				}
				var got []domain.Outcome
				for _, u := range recorded[domain.KeyUsed](d, eventstore.Uses) {
					got = append(got, u.Code)
				}
				if fmt.Sprint(got) != fmt.Sprint(want) {
					t.Errorf("the ledger has %v, want %v", got, want)
				}
			})
		}
	}
}

// A request that is decided twice takes its cost of a rate limit once, and counts once on the ledger.
func TestDecidingAgainTakesOnePlace(t *testing.T) {
	var happens func()
	d := openWith(t, verify.Options{}, changing(&happens).on)
	id := d.key(domain.KeyCreated{Settings: domain.Settings{Name: "limited", RateLimits: []domain.RateLimit{{Limit: 4, Window: domain.Duration(time.Hour)}}}})
	name := "renamed"
	happens = func() {
		d.change(id, 1, domain.KeyUpdated{Changes: domain.Changes{Name: &name}, Header: domain.Header{At: noon}})
	}
	a, err := d.ask(verify.Request{Secret: "limited", Cost: 3})
	if err != nil || a.Outcome != domain.UseValid || a.Credential.Name != name || a.Limits[0].Remaining != 1 {
		t.Errorf("the answer is %+v, %v", a, err)
	}
	counted := 0
	for _, u := range recorded[domain.KeyUsed](d, eventstore.Uses) {
		counted += len(u.Windows)
	}
	if counted != 1 {
		t.Errorf("the request counts %d times on the ledger", counted)
	}
	if a, err := d.ask(verify.Request{Secret: "limited", Cost: 3}); err != nil || a.Outcome != domain.UseRateLimited {
		t.Errorf("the next outcome is %s, %v", a.Outcome, err)
	}
	d.close()
}

// The same holds for those who call: at the moment when their own use is on the ledger, and
// later when what they asked for was done.
func TestACallerIsAsNewAsTheReadModel(t *testing.T) {
	ask := map[string]func(*desk, verify.AuthRequest) (verify.Caller, error){
		"manager": func(d *desk, r verify.AuthRequest) (verify.Caller, error) { return d.Authenticate(d.t.Context(), r) },
		"verifier": func(d *desk, r verify.AuthRequest) (verify.Caller, error) {
			return d.AuthenticateVerifier(d.t.Context(), r)
		},
	}
	for name, ask := range ask {
		t.Run(name, func(t *testing.T) {
			var happens func()
			d := openWith(t, verify.Options{}, changing(&happens).on)
			management := func(name string) domain.KeyID {
				return d.key(domain.KeyCreated{Settings: domain.Settings{Name: name, Scopes: []string{"keys:verify"}, RateLimits: []domain.RateLimit{{Limit: 1, Window: domain.Duration(time.Hour)}}}, Keyspace: domain.ManagementKeyspace})
			}
			first, second := management("first"), management("second")
			happens = func() { d.change(first, 1, domain.KeyRevoked{Header: domain.Header{At: noon}}) }
			if _, err := ask(d, verify.AuthRequest{Secret: "first", Scope: "keys:verify"}); !errors.Is(err, domain.ErrInvalidCredentials) {
				t.Errorf("revoked while its use was written: %v", err)
			}
			c, err := ask(d, verify.AuthRequest{Secret: "second", Scope: "keys:verify"})
			if err != nil {
				t.Fatal(err)
			}
			name, last := "renamed", eventstore.Position(2)
			for _, then := range []struct {
				e    domain.Event
				want error
			}{
				{domain.KeyUpdated{Changes: domain.Changes{Name: &name}, Header: domain.Header{At: noon}}, nil},
				{domain.KeyUpdated{Changes: domain.Changes{Scopes: &[]string{}}, Header: domain.Header{At: noon}}, domain.ScopeMissing("keys:verify")},
				{domain.KeyDisabled{Header: domain.Header{At: noon}}, domain.ErrInvalidCredentials},
			} {
				last = d.change(second, last, then.e)
				if err := d.Recheck(&c); fmt.Sprint(err) != fmt.Sprint(then.want) {
					t.Errorf("after %s: %v, want %v", domain.TypeOf(then.e), err, then.want)
				}
			}
			d.close()
		})
	}
}
