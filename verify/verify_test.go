package verify_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
	"github.com/keytrail/keytrail/projections"
	"github.com/keytrail/keytrail/verify"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// A desk is a verifier on a real ledger and a real read model, whose clock the test sets.
type desk struct {
	*verify.Verifier
	t      testing.TB
	server *eventstore.Server
	ledger *eventstore.Ledger
	store  *projections.Store
	clock  atomic.Int64
	org    domain.OrgID
	asker  domain.Principal
}

func open(t *testing.T, durability verify.Durability) *desk {
	t.Helper()
	return openWith(t, verify.Options{Durability: durability}, nil)
}

// openWith is open with other options, on a ledger that faults makes of the real one.
func openWith(t testing.TB, o verify.Options, faults func(*desk) verify.UseLog) *desk {
	t.Helper()
	server := eventstoretest.Server(t)
	d := &desk{t: t, server: server, ledger: eventstoretest.Open(t, server), org: domain.NewOrgID("customer")}
	d.asker = domain.Principal{ID: "gateway", Org: d.org}
	d.clock.Store(noon.UnixMilli())
	var err error
	if d.store, err = projections.Open(t.TempDir(), projections.Options{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.store.Run(ctx, d.ledger) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, d.store.Close()); err != nil {
			t.Error(err)
		}
	})
	o.Now = func() time.Time { return time.UnixMilli(d.clock.Load()) }
	var log verify.UseLog = d.ledger
	if faults != nil {
		log = faults(d)
	}
	d.Verifier = verify.New(d.store, log, o)
	return d
}

// key puts a key on the ledger: how it was created, then what became of it. Its secret is
// its name.
func (d *desk) key(e domain.KeyCreated, then ...domain.Event) domain.KeyID {
	d.t.Helper()
	e.Imported = true // or its name would not be taken for a secret
	e.ID, e.At, e.Digest = domain.NewKeyID("", e.Name), noon, domain.NewSecret(e.Name).Digest()
	if e.Org == "" {
		e.Org = d.org
	}
	if e.Keyspace == "" {
		e.Keyspace = domain.DefaultKeyspace
	}
	var p eventstore.Position
	for _, event := range append([]domain.Event{e}, then...) {
		var err error
		if p, err = d.ledger.Append(d.t.Context(), eventstore.KeyRef(e.Org, e.ID), p, eventstore.Command{}, event); err != nil {
			d.t.Fatal(err)
		}
	}
	if err := d.store.WaitFor(d.t.Context(), p); err != nil {
		d.t.Fatal(err)
	}
	return e.ID
}

func (d *desk) ask(r verify.Request) (verify.Answer, error) {
	if r.By.ID == "" {
		r.By = d.asker
	}
	var a verify.Answer
	return a, d.Verify(d.t.Context(), &r, &a)
}

// close ends the verifier: what it still had to write is then on the ledger.
func (d *desk) close() {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), 10*time.Second)
	defer cancel()
	if err := d.Close(ctx); err != nil {
		d.t.Fatal(err)
	}
}

// recorded is every event of that type on the stream.
func recorded[E domain.Event](d *desk, s eventstore.Stream) (all []E) {
	d.t.Helper()
	err := d.ledger.Read(d.t.Context(), eventstore.Query{Reach: domain.All, Stream: s}, func(b eventstore.Batch) error {
		for _, r := range b.Records {
			if e, ok := r.Event.(E); ok {
				all = append(all, e)
			}
		}
		return nil
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return all
}

func TestEveryOutcomeIsAnsweredAndRecorded(t *testing.T) {
	d := open(t, verify.Durable)
	scoped := domain.KeyCreated{Settings: domain.Settings{Scopes: []string{"a:read", "b:*"}, AllowedCIDRs: []string{"192.0.2.0/24"}}}
	named := func(name string) domain.KeyCreated { e := scoped; e.Name = name; return e }
	d.key(named("good"))
	d.key(named("revoked"), domain.KeyRevoked{Header: domain.Header{At: noon}})
	d.key(named("disabled"), domain.KeyDisabled{Header: domain.Header{At: noon}})
	d.key(named("expired"), domain.KeyExpired{Header: domain.Header{At: noon}}) // a record, which a key without an expiry outlives
	d.key(named("rotated"), domain.KeyRotated{Digest: domain.NewSecret("rotated-anew").Digest(), OldValidUntil: noon, Header: domain.Header{At: noon}})
	limited := named("limited")
	limited.RateLimits = []domain.RateLimit{{Limit: 1, Window: domain.Duration(time.Hour)}}
	d.key(limited)
	ended := named("ended")
	ended.ExpiresAt = noon
	d.key(ended)
	d.key(domain.KeyCreated{Settings: domain.Settings{Name: "management"}, Keyspace: domain.ManagementKeyspace})
	d.key(domain.KeyCreated{Settings: domain.Settings{Name: "strange"}, Org: domain.NewOrgID("stranger")})

	ip := netip.MustParseAddr("192.0.2.7")
	for _, c := range []struct {
		ask  verify.Request
		want domain.Outcome
	}{
		{verify.Request{Secret: "good", IP: ip}, domain.UseValid},
		{verify.Request{Secret: "good", IP: ip, Scopes: []string{"a:read", "b:write"}, Keyspace: "default"}, domain.UseValid},
		{verify.Request{Secret: "good", IP: ip, Scopes: []string{"a:write"}}, domain.UseInsufficientScope},
		{verify.Request{Secret: "good", IP: netip.MustParseAddr("198.51.100.7")}, domain.UseIPNotAllowed},
		{verify.Request{Secret: "good"}, domain.UseIPNotAllowed},
		{verify.Request{Secret: "revoked", IP: ip}, domain.UseRevoked},
		{verify.Request{Secret: "disabled", IP: ip}, domain.UseDisabled},
		{verify.Request{Secret: "expired", IP: ip}, domain.UseValid},
		{verify.Request{Secret: "ended", IP: ip}, domain.UseExpired},
		{verify.Request{Secret: "rotated", IP: ip}, domain.UseExpired},
		{verify.Request{Secret: "rotated-anew", IP: ip}, domain.UseValid},
		{verify.Request{Secret: "limited", IP: ip}, domain.UseValid},
		{verify.Request{Secret: "limited", IP: ip}, domain.UseRateLimited},
		{verify.Request{Secret: "management", Keyspace: domain.ManagementKeyspace}, domain.UseValid},
		{verify.Request{Secret: "good", IP: ip, ResourceOrg: d.org, Resource: "GET /v1/x"}, domain.UseValid},
		{verify.Request{Secret: "good", IP: ip, ResourceOrg: domain.NewOrgID("stranger"), Resource: "GET /v1/x", Cost: 7}, domain.UseWrongOrganization},
	} {
		before := len(recorded[domain.KeyUsed](d, eventstore.Uses))
		a, err := d.ask(c.ask)
		if err != nil || a.Outcome != c.want {
			t.Errorf("%+v is answered %s, %v; want %s", c.ask, a.Outcome, err, c.want)
			continue
		}
		uses := recorded[domain.KeyUsed](d, eventstore.Uses)
		if len(uses) != before+1 || uses[before].Code != c.want || uses[before].Key != a.Credential.Key || uses[before].Principal != d.asker.ID ||
			uses[before].Resource != c.ask.Resource || uses[before].Cost != c.ask.Cost || a.Keyspace.Name != a.Credential.Keyspace || a.Unmet != -1 {
			t.Errorf("%+v is answered %+v, and on the ledger as %+v", c.ask, a, uses[before:])
		}
	}
	for _, secret := range []string{"", "nobody's", "with space", "kt_live_mangled", "good\n", "management", "strange"} {
		a, err := d.ask(verify.Request{Secret: secret, IP: ip})
		if err != nil || a.Outcome != domain.UseNotFound {
			t.Errorf("%q is answered %s, %v", secret, a.Outcome, err)
		}
	}
}

// However many ask at once, a window lets through its limit, and not one more.
func TestRateLimitsAreExact(t *testing.T) {
	d := open(t, verify.Relaxed)
	d.key(domain.KeyCreated{Settings: domain.Settings{Name: "limited", RateLimits: []domain.RateLimit{
		{Limit: 100, Window: domain.Duration(time.Minute)}, {Limit: 150, Window: domain.Duration(time.Hour)}}}})
	rush := func() int64 {
		var valid atomic.Int64
		var askers sync.WaitGroup
		for range 16 {
			askers.Go(func() {
				for range 20 {
					switch a, err := d.ask(verify.Request{Secret: "limited"}); {
					case err != nil:
						t.Error(err)
					case a.Outcome == domain.UseValid:
						valid.Add(1)
					}
				}
			})
		}
		askers.Wait()
		return valid.Load()
	}
	if n := rush(); n != 100 {
		t.Errorf("%d passed the first minute's limit of 100", n)
	}
	a, err := d.ask(verify.Request{Secret: "limited"})
	if err != nil || a.Outcome != domain.UseRateLimited || len(a.Limits) != 2 {
		t.Fatalf("after the rush: %+v, %v", a, err)
	}
	if m, h := a.Limits[0], a.Limits[1]; m.Remaining != 0 || m.Reset != noon.Add(time.Minute).Unix() || h.Remaining != 50 || h.Reset != noon.Add(time.Hour).Unix() {
		t.Errorf("limits stand at %+v", a.Limits)
	}
	d.clock.Add(time.Minute.Milliseconds())
	if n := rush(); n != 50 {
		t.Errorf("%d passed what the hour's limit left: 50", n)
	}
	d.close()
}

// No answer without its use, and no use without its answer.
func TestEachAnsweredUseIsOnTheLedgerOnce(t *testing.T) {
	for name, durability := range map[string]verify.Durability{"durable": verify.Durable, "relaxed": verify.Relaxed} {
		t.Run(name, func(t *testing.T) {
			d := open(t, durability)
			d.key(domain.KeyCreated{Settings: domain.Settings{Name: "busy"}})
			var askers sync.WaitGroup
			for i := range 32 {
				askers.Go(func() {
					for j := range 50 {
						if a, err := d.ask(verify.Request{Secret: "busy", RequestID: fmt.Sprint(i, "-", j)}); err != nil || a.Outcome != domain.UseValid {
							t.Error(a.Outcome, err)
						}
					}
				})
			}
			askers.Wait()
			if durability == verify.Relaxed {
				d.close()
			}
			times := map[string]int{}
			for _, u := range recorded[domain.KeyUsed](d, eventstore.Uses) {
				times[u.RequestID]++
			}
			if len(times) != 32*50 {
				t.Errorf("%d of %d uses are on the ledger", len(times), 32*50)
			}
			for id, n := range times {
				if n != 1 {
					t.Errorf("use %s is there %d times", id, n)
				}
			}
			if durability == verify.Durable {
				d.close()
			}
		})
	}
}

// Without a ledger a durable verification has no answer, whatever the key.
func TestDurableFailsClosed(t *testing.T) {
	d := open(t, verify.Durable)
	d.key(domain.KeyCreated{Settings: domain.Settings{Name: "good"}})
	d.server.Close()
	_, err := d.ask(verify.Request{Secret: "good"})
	var refusal *domain.Error
	if !errors.As(err, &refusal) || refusal.Kind != domain.Unavailable {
		t.Errorf("without a ledger the error is %v", err)
	}
}

// A flood of unknown secrets is a trickle on the ledger, in which each is counted.
func TestRefusalsAreSummedUp(t *testing.T) {
	d := open(t, verify.Durable)
	other := domain.Principal{ID: "other", Org: d.org}
	for i := range 500 {
		for _, by := range []domain.Principal{d.asker, other} {
			if _, err := d.ask(verify.Request{Secret: fmt.Sprint("guess", i), By: by}); err != nil {
				t.Fatal(err)
			}
			d.clock.Add(1)
		}
	}
	d.close()
	counts := map[string]int64{}
	for _, e := range recorded[domain.CredentialsRefused](d, eventstore.Uses) {
		counts[e.Principal] += e.Count
		if !e.From.Before(e.To) {
			t.Errorf("the summary is from %s to %s", e.From, e.To)
		}
	}
	if len(counts) != 2 || counts[d.asker.ID] != 500 || counts[other.ID] != 500 {
		t.Errorf("the ledger counts %v", counts)
	}
}

// Who asks all the time is recorded once a minute, and refused from the moment on when
// their key is.
func TestAVerifiersOwnKey(t *testing.T) {
	d := open(t, verify.Durable)
	created := domain.KeyCreated{Settings: domain.Settings{Name: "gateway", Scopes: []string{"keys:verify"}}, Keyspace: domain.ManagementKeyspace}
	id := d.key(created)
	ask := func(scope string) (domain.Principal, error) {
		c, err := d.AuthenticateVerifier(t.Context(), verify.AuthRequest{Secret: "gateway", Scope: scope})
		return c.Principal, err
	}
	for range 100 {
		if p, err := ask("keys:verify"); err != nil || p.ID != string(id) || p.Org != d.org {
			t.Fatalf("the gateway is %+v, %v", p, err)
		}
	}
	if n := len(recorded[domain.KeyUsed](d, eventstore.Uses)); n != 1 {
		t.Errorf("the gateway's key was recorded %d times in a minute", n)
	}
	d.clock.Add(time.Minute.Milliseconds())
	if _, err := ask("keys:verify"); err != nil {
		t.Fatal(err)
	}
	if n := len(recorded[domain.KeyUsed](d, eventstore.Uses)); n != 2 {
		t.Errorf("the gateway's key was recorded %d times in two minutes", n)
	}
	for secret, want := range map[string]error{"": domain.ErrMissingCredentials, "unknown": domain.ErrInvalidCredentials} {
		if _, err := d.AuthenticateVerifier(t.Context(), verify.AuthRequest{Secret: secret, Scope: "keys:verify"}); !errors.Is(err, want) {
			t.Errorf("%q as a management key: %v", secret, err)
		}
	}
	p, err := d.ledger.Append(t.Context(), eventstore.KeyRef(d.org, id), 1, eventstore.Command{}, domain.KeyRevoked{Header: domain.Header{At: noon}})
	if err == nil {
		err = d.store.WaitFor(t.Context(), p)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ask("keys:verify"); !errors.Is(err, domain.ErrInvalidCredentials) {
		t.Errorf("after its revocation the gateway is told %v", err)
	}
	d.close()
}
