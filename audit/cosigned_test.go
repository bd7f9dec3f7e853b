package audit

import (
	"testing"
	"time"
)

// A cosigned checkpoint is published while it is not far behind, by a clock that may be set back or
// forward between the two.
func TestACosignedCheckpointThatLags(t *testing.T) {
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		size int64
		age  time.Duration
		lags bool
	}{
		"it is the last one":                    {size: 20, age: time.Hour},
		"it is a moment behind":                 {size: 10, age: 2 * time.Second},
		"witnesses have not answered for long":  {size: 10, age: time.Minute, lags: true},
		"the clock was set forward by a day":    {size: 10, age: 24 * time.Hour, lags: true},
		"the clock was set back by a day":       {size: 10, age: -24 * time.Hour, lags: true},
		"the clock was set back by two seconds": {size: 10, age: -2 * time.Second},
	} {
		last, cosigned := Checkpoint{Size: 20, Published: now}, Checkpoint{Size: c.size, Published: now.Add(-c.age)}
		if got := lags(cosigned, last); got != c.lags {
			t.Errorf("%s: %t", name, got)
		}
	}
}
