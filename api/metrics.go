package api

import (
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// A scrape is the metrics as text, gathered once for all requests of a moment: it takes
// milliseconds, and needs no key.
type scrape struct {
	gather http.Handler

	mu   sync.Mutex
	at   time.Time
	text []byte
}

// scrapeEvery is how often metrics are gathered at most; tests lengthen it.
var scrapeEvery = 100 * time.Millisecond

// newScrape leaves out a metric that cannot be gathered, and has all others.
func newScrape(from *prometheus.Registry) *scrape {
	return &scrape{gather: promhttp.HandlerFor(from, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError, DisableCompression: true})}
}

func (s *scrape) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	text := s.recent()
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = w.Write(text) // the client may be gone
}

func (s *scrape) recent() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); s.text == nil || now.Sub(s.at) >= scrapeEvery {
		answer := newBufferedResponse()
		s.gather.ServeHTTP(answer, &http.Request{})
		s.text, s.at = answer.Bytes(), now
	}
	return s.text
}

func documentMetrics() description {
	return description{summary: "Metrics for Prometheus", details: "In its text format.", answer: map[string]*huma.MediaType{"text/plain": {Schema: textSchema()}}, security: openToAll}
}
