package verify

import (
	"context"
	"testing"
	"time"

	"github.com/keytrail/keytrail/domain"
)

// WriteRefusals writes the refusals that were counted, as Run does from time to time.
func (v *Verifier) WriteRefusals(ctx context.Context) { v.writeRefusals(ctx) }

// Sweep forgets rate limit windows that have passed, as Run does from time to time.
func (v *Verifier) Sweep() { v.limits.sweep(v.now().UnixMilli()) }

// Record puts a use into a batch, as a request with that deadline does.
func (v *Verifier) Record(ctx context.Context, org domain.OrgID, u *domain.KeyUsed, deadline time.Time) error {
	return v.recorder.record(ctx, use{u, org, 0}, deadline)
}

// KnownSessions is how many tokens of sessions are remembered.
func (v *Verifier) KnownSessions() (n int) {
	for i := range v.sessions.shards {
		n += len(v.sessions.shards[i].young) + len(v.sessions.shards[i].old)
	}
	return n
}

// SetMaxYoungSessions makes fewer be remembered until the test ends.
func SetMaxYoungSessions(t *testing.T, n int) { set(t, &maxYoungSessions, n) }

// SetUseTimeout makes requests wait less for the ledger until the test ends.
func SetUseTimeout(t *testing.T, d time.Duration) { set(t, &useTimeout, d) }

// SetMaxWait makes relaxed verification stop sooner until the test ends.
func SetMaxWait(t *testing.T, d time.Duration) { set(t, &maxWait, d) }

// SetRepeat makes messages be repeated for less time, and after shorter pauses, until the
// test ends.
func SetRepeat(t *testing.T, d, pause time.Duration) {
	set(t, &repeatFor, d)
	set(t, &repeatPause, pause)
}

// SetMaxRefusedKeys makes fewer keys have sums until the test ends.
func SetMaxRefusedKeys(t *testing.T, n int) { set(t, &maxRefusedKeys, n) }

func set[T any](t *testing.T, v *T, value T) {
	before := *v
	t.Cleanup(func() { *v = before })
	*v = value
}

// CountOutcome counts a verification with that outcome.
func (v *Verifier) CountOutcome(o domain.Outcome) { v.outcomes.count(o) }
