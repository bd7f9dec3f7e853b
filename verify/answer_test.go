package verify

import (
	"testing"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/projections"
)

// BenchmarkAnswer is what a verification pays for writing its answer.
func BenchmarkAnswer(b *testing.B) {
	a := Answer{Outcome: domain.UseValid, Position: 123456, Credential: projections.Credential{
		Credential: domain.Credential{Key: domain.NewKeyID("", "k"), Org: domain.NewOrgID("o"), Keyspace: "default",
			Scopes: []string{"invoices:read", "invoices:write"}, ExpiresAt: 1763640000123},
		Owner: "user_8231", Name: "invoices service, production", Metadata: `{"plan":"pro"}`},
		Limits: []LimitState{{RateLimit: domain.RateLimit{Limit: 100, Window: domain.Duration(time.Minute)}, Remaining: 42, Reset: 1763640060}}}
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		out = a.AppendJSON(out[:0])
	}
}
