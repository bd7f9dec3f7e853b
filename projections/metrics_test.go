package projections_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
	"github.com/keytrail/keytrail/projections"
)

// The metrics are computed when they are scraped, and right whoever asks for what else.
func TestMetricsAreOfTheMomentOfTheScrape(t *testing.T) {
	l := eventstoretest.New(t)
	h := newHistory(t, l)
	registry := prometheus.NewPedanticRegistry()
	s, err := projections.Open(t.TempDir(), projections.Options{Metrics: registry})
	if err != nil {
		t.Fatal(err)
	}
	if got := gauge(t, registry, "keytrail_keys", "active"); got != 0 {
		t.Errorf("before it runs, there are %v keys", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx, l) }()
	for range 100 {
		h.create()
	}
	for range 150 {
		h.change()
	}
	h.use(20)
	catchUp(t, s, l)
	states := map[domain.State]int{}
	for _, k := range h.keys {
		state := k.State
		if state != domain.Revoked && k.ExpiryRecorded() {
			state = domain.Expired
		}
		states[state]++
	}
	if len(states) != 4 {
		t.Fatalf("the history has only %v", states)
	}
	for state, want := range states {
		if got := gauge(t, registry, "keytrail_keys", state.String()); got != float64(want) {
			t.Errorf("%v keys are %s, want %d", got, state, want)
		}
	}
	if got := gauge(t, registry, "keytrail_projection_lag_messages", "usage"); got != 0 {
		t.Errorf("the lag is %v", got)
	}
	stopper := domain.NewKeyID("", "never created")
	if _, err := l.Append(t.Context(), eventstore.KeyRef(h.orgs[0], stopper), 0, eventstore.Command{}, domain.KeyDisabled{Header: domain.Header{At: noon}}); err != nil {
		t.Fatal(err)
	}
	for begun := time.Now(); gauge(t, registry, "keytrail_projection_lag_messages", "keys") != 1; {
		if time.Since(begun) > 10*time.Second {
			t.Fatal("the lag of a projection that has stopped does not show")
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// gauge is the value of a metric with that label.
func gauge(t *testing.T, registry *prometheus.Registry, name, label string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && strings.Contains(m.String(), `"`+label+`"`) {
				return m.GetGauge().GetValue()
			}
		}
	}
	t.Fatalf("no %s of %s", name, label)
	return 0
}
