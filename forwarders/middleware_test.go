package forwarders

import (
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/forwarders/transport"
)

// TestACircuitBreakerCanBeForgotten: one that is open does not outlive what its operator has mended.
func TestACircuitBreakerCanBeForgotten(t *testing.T) {
	b := newBreakers()
	org := domain.NewOrgID("acme")
	s := Sink{Receiver: transport.Receiver{Org: org, SinkDefinition: domain.SinkDefinition{URL: "https://siem.example/a"}}}
	beside := Sink{Receiver: transport.Receiver{Org: org, SinkDefinition: domain.SinkDefinition{URL: "https://siem.example/b"}}}
	attempts := 0
	h := b.guard(s)(func(*message.Message) ([]*message.Message, error) {
		attempts++
		return nil, &undelivered{failure: &transport.Failure{Text: "refused"}}
	})
	for range breakAfter + 5 {
		_, _ = h(nil)
	}
	if attempts != breakAfter {
		t.Fatalf("%d attempts, want %d before it breaks", attempts, breakAfter)
	}
	b.forget(beside)
	_, _ = h(nil)
	if attempts != breakAfter+1 {
		t.Errorf("%d attempts, want one more", attempts)
	}
}
