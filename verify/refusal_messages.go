package verify

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// refusalsEvery is how often refusals that are only counted are written to the ledger. A
// crash loses those counted since.
const refusalsEvery = 10 * time.Second

// A refusalMessage is a message to the ledger for refusals that were only counted: sums of one
// organization's keys, or a summary. Each append of it is the same message, so that one whose
// acknowledgement was lost does not count twice.
type refusalMessage struct {
	append   func(context.Context) error
	refusals int64
	begun    time.Time // of the first append
}

// refusalMessages are those that are not known to be written, oldest first. Refusals that are
// counted meanwhile go into later ones.
type refusalMessages struct {
	log  *slog.Logger
	lost prometheus.Counter

	mu      sync.Mutex
	pending []refusalMessage
}

// write appends what is pending, and then what collect gives, until an append fails.
func (m *refusalMessages) write(ctx context.Context, collect func() []refusalMessage) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.writePending(ctx)
	if len(m.pending) == 0 {
		m.pending = collect()
		m.writePending(ctx)
	}
}

func (m *refusalMessages) writePending(ctx context.Context) {
	for len(m.pending) > 0 && m.writeFirst(ctx) {
		m.pending = m.pending[1:]
	}
}

// writeFirst appends the oldest one. It reports whether that is done with: written, or given
// up after as long as the ledger recognises a repeated message.
func (m *refusalMessages) writeFirst(ctx context.Context) bool {
	first := &m.pending[0]
	if first.begun.IsZero() {
		first.begun = time.Now()
	}
	err := first.append(ctx)
	if err == nil {
		return true
	}
	givenUp := time.Since(first.begun) > repeatFor
	if givenUp {
		m.lost.Add(float64(first.refusals))
	}
	m.log.ErrorContext(ctx, "summary of refusals not acknowledged by the ledger", "refusals", first.refusals, "given_up", givenUp, "err", err)
	return givenUp
}
