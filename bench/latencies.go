package main

import (
	"slices"
	"time"
)

// latencies are how long each answer took.
type latencies []time.Duration

// percentiles sum latencies up, in microseconds.
type percentiles struct {
	P50  float64 `json:"p50_us"`
	P90  float64 `json:"p90_us"`
	P99  float64 `json:"p99_us"`
	P999 float64 `json:"p999_us"`
	Max  float64 `json:"max_us"`
}

// percentiles sorts l. A percentile is the smallest latency that as large a share of all does
// not exceed; 0 where there is none.
func (l latencies) percentiles() percentiles {
	if len(l) == 0 {
		return percentiles{}
	}
	slices.Sort(l)
	at := func(share float64) float64 { return micros(l[max(int(share*float64(len(l))+0.5), 1)-1]) }
	return percentiles{P50: at(.5), P90: at(.9), P99: at(.99), P999: at(.999), Max: at(1)}
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
