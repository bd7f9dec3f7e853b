// Package backoff waits between attempts.
package backoff

import (
	"context"
	"math/rand/v2"
	"time"
)

// Sleep waits for d. It returns ctx's error at once when that ends first.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// Jitter is a random time from half of d to d, so that callers that failed together do not
// come back together.
func Jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }
