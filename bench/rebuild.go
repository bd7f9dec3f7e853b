package main

import (
	"context"
	"fmt"
)

// A rebuilt is a start that found no read model and built it from the ledger.
type rebuilt struct {
	Seconds float64 `json:"seconds"`       // to ready
	Peak    int64   `json:"peak_resident"` // bytes
}

func rebuild(ctx context.Context, e *env) (err error) {
	e.result.Rebuild.Seconds = e.service.ready.Seconds()
	if _, err = e.untilIdle(ctx, e.service.pid); err == nil {
		e.result.Rebuild.Peak, err = e.service.peak()
	}
	return err
}

// rebuildTargets: a million keys in 20 s, and ten of them in 240 s with 10 GB.
func rebuildTargets(r *report) []target {
	last := r.largest()
	if last == nil || last.Rebuild.Seconds == 0 {
		return nil
	}
	millions := max(1, float64(last.Keys)/1e6)
	limit := 20 * millions
	if millions > 1 {
		limit = 24 * millions
	}
	return []target{
		{"start with an empty read model to ready, " + last.size(), fmt.Sprintf("≤ %.0f s", limit), fmt.Sprintf("%.1f s", last.Rebuild.Seconds), last.Rebuild.Seconds > limit},
		{"peak resident memory of it, " + last.size(), fmt.Sprintf("≤ %.0f MB", 1000*millions), fmt.Sprintf("%.0f MB", megabytes(last.Rebuild.Peak)), megabytes(last.Rebuild.Peak) > 1000*millions},
	}
}
