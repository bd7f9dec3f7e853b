package verify_test

import (
	"context"
	"testing"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/verify"
)

// benchmark runs ask from many goroutines, on a relaxed verifier that has the keys good,
// limited and gateway.
func benchmark(b *testing.B, ask func(*desk, *verify.Answer) error) {
	d := openWith(b, verify.Options{Durability: verify.Relaxed}, nil)
	d.key(domain.KeyCreated{Settings: domain.Settings{Name: "good", Scopes: []string{"a:read"}}})
	d.key(domain.KeyCreated{Settings: domain.Settings{Name: "limited", RateLimits: []domain.RateLimit{{Limit: 1 << 40, Window: domain.Duration(time.Hour)}}}})
	d.key(domain.KeyCreated{Settings: domain.Settings{Name: "gateway", Scopes: []string{"keys:verify"}}, Keyspace: domain.ManagementKeyspace})
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
	for name, secret := range map[string]string{"plain": "good", "limited": "limited", "unknown": "none"} {
		b.Run(name, func(b *testing.B) {
			benchmark(b, func(d *desk, a *verify.Answer) error {
				return d.Verify(context.Background(), &verify.Request{Secret: secret, By: d.asker}, a)
			})
		})
	}
}

func BenchmarkAuthenticateVerifier(b *testing.B) {
	benchmark(b, func(d *desk, _ *verify.Answer) error {
		_, err := d.AuthenticateVerifier(context.Background(), verify.AuthRequest{Secret: "gateway", Scope: "keys:verify", RequestID: "r"})
		return err
	})
}
