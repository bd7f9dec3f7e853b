package api_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keytrail/keytrail/api"
)

// TestManyScrapesAreOne asks often for what takes long to gather, as anybody can.
func TestManyScrapesAreOne(t *testing.T) {
	api.SetScrapeEvery(t, time.Hour)
	var gathered atomic.Int64
	s := startWith(t, nil, func(o *api.Options) {
		o.Registry = prometheus.NewRegistry()
		o.Registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "gathered", Help: "."}, func() float64 { return float64(gathered.Add(1)) }))
	})
	for range 20 {
		if status, _, text := s.do("", "GET", "/metrics", ""); status != 200 || !strings.Contains(text, "gathered 1\n") || !strings.Contains(text, "keytrail_http_in_flight") {
			t.Fatalf("%d %s", status, text)
		}
	}
}
