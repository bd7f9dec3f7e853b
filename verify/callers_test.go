package verify_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/verify"
)

// What was decided about a caller is not answered to one that asks for anything else.
func TestACachedCallerHasAskedTheSame(t *testing.T) {
	d := open(t, verify.Relaxed)
	d.key(domain.KeyCreated{Settings: domain.Settings{Name: "gateway", Scopes: []string{"keys:verify"}, AllowedCIDRs: []string{"192.0.2.0/24"}},
		Keyspace: domain.ManagementKeyspace})
	good := verify.AuthRequest{Secret: "gateway", Scope: "keys:verify", IP: netip.MustParseAddr("192.0.2.1"), RequestID: "first"}
	secret, scope, ip, id := good, good, good, good
	secret.Secret, scope.Scope, ip.IP, id.RequestID = "gatekeeper", "keys:write", netip.MustParseAddr("198.51.100.1"), "second"
	for name, c := range map[string]struct {
		ask  verify.AuthRequest
		want error
	}{
		"the same":        {good, nil},
		"another secret":  {secret, domain.ErrInvalidCredentials},
		"another scope":   {scope, domain.ScopeMissing("keys:write")},
		"another address": {ip, domain.ErrInvalidCredentials},
		"another id":      {id, nil},
	} {
		if _, err := d.AuthenticateVerifier(t.Context(), good); err != nil {
			t.Fatal(err)
		}
		if _, err := d.AuthenticateVerifier(t.Context(), c.ask); fmt.Sprint(err) != fmt.Sprint(c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	d.close()
}

// An outcome that domain.Outcomes lacks is counted, too.
func TestEveryOutcomeIsCounted(t *testing.T) {
	metrics := prometheus.NewRegistry()
	d := openWith(t, verify.Options{Metrics: metrics}, nil)
	d.CountOutcome(domain.UseValid)
	d.CountOutcome("QUOTA_EXCEEDED")
	want := map[string]float64{"VALID": 1, "QUOTA_EXCEEDED": 1}
	for _, o := range domain.Outcomes {
		want[string(o)] += 0
	}
	expect(t, metrics, "keytrail_verifications_total", want)
	d.close()
}
