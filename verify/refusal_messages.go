package verify

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keytrail/keytrail/eventstore"
)

// refusalsEvery is how often refusals that are only counted are written to the ledger. A
// crash loses those counted since.
const refusalsEvery = 10 * time.Second

// A refusalBatch is a message to the ledger of refusals that were only counted, of whatever
// organizations. Each append of it is the same message, so that one whose acknowledgement was
// lost does not count twice.
type refusalBatch struct {
	uses     eventstore.UseBatch
	refusals int64
	begun    time.Time // of the first append
}

// refusalBatches are those that are not written, oldest first.
type refusalBatches []*refusalBatch

// add puts so many refusals into the last batch, or another one if that is full.
func (all *refusalBatches) add(refusals int64, to func(*eventstore.UseBatch) bool) {
	if n := len(*all); n == 0 || !to(&(*all)[n-1].uses) {
		*all = append(*all, &refusalBatch{})
		to(&(*all)[n].uses)
	}
	(*all)[len(*all)-1].refusals += refusals
}

// refusalMessages writes them. Refusals that are counted meanwhile go into later ones.
type refusalMessages struct {
	ledger UseLog
	log    *slog.Logger
	lost   prometheus.Counter

	mu      sync.Mutex
	pending refusalBatches
}

// write appends what is pending, and then what collect gives, until an append fails.
func (m *refusalMessages) write(ctx context.Context, collect func() refusalBatches) {
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
	first := m.pending[0]
	if first.begun.IsZero() {
		first.begun = time.Now()
	}
	_, err := m.ledger.AppendUses(ctx, &first.uses)
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
