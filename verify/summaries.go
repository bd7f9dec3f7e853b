package verify

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// summaryEvery is how often refusals that are only counted are written to the ledger. A
// crash loses those counted since.
const summaryEvery = 10 * time.Second

// A summary is one message to be: refusals that were counted, and how they are appended.
// Appending it again is the same message, so that one whose acknowledgement was lost does
// not count twice.
type summary struct {
	append   func(context.Context) error
	refusals int64
	begun    time.Time // of the first try
}

// summaries are those that are not known to be written, oldest first. What is counted
// meanwhile goes into others.
type summaries struct {
	log     *slog.Logger
	lost    prometheus.Counter
	pending []summary
}

// write appends what is pending until one fails.
func (s *summaries) write(ctx context.Context) {
	for len(s.pending) > 0 && s.writeFirst(ctx) {
		s.pending = s.pending[1:]
	}
}

// writeFirst tells whether the oldest one is done with: written, or tried for as long as
// the ledger knows it again.
func (s *summaries) writeFirst(ctx context.Context) bool {
	first := &s.pending[0]
	if first.begun.IsZero() {
		first.begun = time.Now()
	}
	err := first.append(ctx)
	if err == nil {
		return true
	}
	given := time.Since(first.begun) > repeatFor
	if given {
		s.lost.Add(float64(first.refusals))
	}
	s.log.ErrorContext(ctx, "summary of refusals not acknowledged by the ledger", "refusals", first.refusals, "given_up", given, "err", err)
	return given
}
