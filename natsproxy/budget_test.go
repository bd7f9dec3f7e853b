package natsproxy

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// TestConnectionsOfAnOrganizationShareItsBudget: with many of them a subscriber gets no more of the
// server than with one, and takes nothing from those of another organization.
func TestConnectionsOfAnOrganizationShareItsBudget(t *testing.T) {
	p := New(Options{Metrics: prometheus.NewRegistry()})
	one, two, other := &client{reader: Reader{Org: "a"}}, &client{reader: Reader{Org: "a"}}, &client{reader: Reader{Org: "b"}}
	for _, c := range []*client{one, two, other} {
		if limit := p.enter(c); limit != "" {
			t.Fatal(limit)
		}
	}
	if one.budget != two.budget || one.budget == other.budget || other.budget == nil {
		t.Error("the budget is not the organization's")
	}
}
