package verify_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/verify"
)

// benchmark runs ask from many goroutines, on a relaxed verifier that has the keys good,
// limited and gateway, and policy, whose use depends on all that it can.
func benchmark(b *testing.B, ask func(*desk, *verify.Answer) error) {
	d := openWith(b, verify.Options{Durability: verify.Relaxed}, nil)
	d.key(domain.KeyCreated{Settings: domain.Settings{Name: "good", Scopes: []string{"a:read"}}})
	d.key(domain.KeyCreated{Settings: domain.Settings{Name: "limited", RateLimits: []domain.RateLimit{{Limit: 1 << 40, Window: domain.Duration(time.Hour)}}}})
	d.key(domain.KeyCreated{Settings: domain.Settings{Name: "gateway", Scopes: []string{"keys:verify"}}, Keyspace: domain.ManagementKeyspace})
	d.put(eventstore.KeyspaceRef("policy"), domain.KeyspaceDefined{Name: "policy", Definition: domain.KeyspaceDefinition{
		Format: domain.Format{Prefix: "policy_", Alphabet: domain.Base62, Length: 32}, Requirements: []domain.Requirement{{Attribute: "discord_id"}}}, Header: at})
	d.knows(domain.Attributes{"discord_id": "8"}, domain.Attributes{})
	d.key(domain.KeyCreated{Settings: domain.Settings{Name: "policy", Owner: "user", Scopes: []string{"a:read", "b:read", "c:*"}, AllowedCIDRs: []string{"198.51.100.0/24", "192.0.2.0/24"},
		RateLimits: []domain.RateLimit{{Limit: 1 << 40, Window: domain.Duration(time.Minute)}, {Limit: 1 << 40, Window: domain.Duration(time.Hour)}}}, Keyspace: "policy"})
	planned := domain.NewOrgID("planned")
	d.put(eventstore.PlanRef("plan"), domain.PlanDefined{Name: "plan", Header: at, Definition: domain.PlanDefinition{ProgrammaticAccess: true, KeysAtMost: new(10),
		UsesAMonth: new(int64(1 << 40)), UsesAMonthPerOwner: new(int64(1 << 40)), UsesAMonthPerKey: new(int64(1 << 40))}})
	d.put(eventstore.OrganizationRef(planned), domain.OrganizationCreated{ID: planned, Header: at})
	d.put(eventstore.OrganizationRef(planned), domain.OrganizationUpdated{Plan: new("plan"), Header: at})
	d.key(domain.KeyCreated{Settings: domain.Settings{Name: "planned", Owner: "user"}, Org: planned})
	d.asker = domain.Principal{ID: "gateway", Org: domain.Installation}
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(p *testing.PB) {
		var a verify.Answer
		for p.Next() {
			if err := ask(d, &a); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.StopTimer()
	d.close()
}

func BenchmarkVerify(b *testing.B) {
	for name, secret := range map[string]string{"plain": "good", "limited": "limited", "unknown": "none", "planned": "planned"} {
		b.Run(name, func(b *testing.B) {
			benchmark(b, func(d *desk, a *verify.Answer) error {
				return d.Verify(context.Background(), &verify.Request{Secret: secret, By: d.asker}, a)
			})
		})
	}
	b.Run("policy", func(b *testing.B) {
		benchmark(b, func(d *desk, a *verify.Answer) error {
			r := verify.Request{Secret: "policy", By: d.asker, Scopes: []string{"c:read"}, IP: netip.AddrFrom4([4]byte{192, 0, 2, 7}), ResourceOrg: d.org}
			err := d.Verify(context.Background(), &r, a)
			if err == nil && a.Outcome != domain.UseValid {
				err = errors.New(string(a.Outcome))
			}
			return err
		})
	})
}

func BenchmarkAuthenticateVerifier(b *testing.B) {
	benchmark(b, func(d *desk, _ *verify.Answer) error {
		_, err := d.AuthenticateVerifier(context.Background(), verify.AuthRequest{Secret: "gateway", Scope: "keys:verify", RequestID: "r"})
		return err
	})
}
