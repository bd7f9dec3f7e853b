package verify

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// summaryEvery is how often refusals that are only counted are written to the ledger. A
// crash loses those counted since.
const summaryEvery = 10 * time.Second

// A summary is a message that stands for refusals which were only counted. Each append of it
// is the same message to the ledger, so that one whose acknowledgement was lost does not
// count twice.
type summary struct {
	append   func(context.Context) error
	refusals int64
	begun    time.Time // of the first append
}

// summaries are those that are not known to be written, oldest first. Refusals that are
// counted meanwhile go into later ones.
type summaries struct {
	log  *slog.Logger
	lost prometheus.Counter

	mu      sync.Mutex
	pending []summary
}

// write appends what is pending, and then what collect gives, until an append fails.
func (s *summaries) write(ctx context.Context, collect func() []summary) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writePending(ctx)
	if len(s.pending) == 0 {
		s.pending = collect()
		s.writePending(ctx)
	}
}

func (s *summaries) writePending(ctx context.Context) {
	for len(s.pending) > 0 && s.writeFirst(ctx) {
		s.pending = s.pending[1:]
	}
}

// writeFirst appends the oldest one. It reports whether that is done with: written, or given
// up after as long as the ledger recognises a repeated message.
func (s *summaries) writeFirst(ctx context.Context) bool {
	first := &s.pending[0]
	if first.begun.IsZero() {
		first.begun = time.Now()
	}
	err := first.append(ctx)
	if err == nil {
		return true
	}
	givenUp := time.Since(first.begun) > repeatFor
	if givenUp {
		s.lost.Add(float64(first.refusals))
	}
	s.log.ErrorContext(ctx, "summary of refusals not acknowledged by the ledger", "refusals", first.refusals, "given_up", givenUp, "err", err)
	return givenUp
}
