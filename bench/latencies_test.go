package main

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestPercentilesOfAKnownSet(t *testing.T) {
	var all latencies
	for _, i := range rand.Perm(10_000) {
		all = append(all, time.Duration(i+1)*time.Microsecond)
	}
	if got, want := all.percentiles(), (percentiles{P50: 5_000, P90: 9_000, P99: 9_900, P999: 9_990, Max: 10_000}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got, want := (latencies{time.Millisecond}).percentiles(), (percentiles{1000, 1000, 1000, 1000, 1000}); got != want {
		t.Errorf("of one: %+v, want %+v", got, want)
	}
	if got := (latencies{}).percentiles(); got != (percentiles{}) {
		t.Errorf("of none: %+v", got)
	}
}
