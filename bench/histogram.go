package main

import (
	"math/bits"
	"time"
)

// A histogram counts durations in buckets whose width grows with the duration: each
// power of two of nanoseconds is cut into 128, so that a quantile is right to within 1 %
// at every scale and recording is one increment. It belongs to one goroutine.
type histogram struct {
	counts [64 * subBuckets]int64
	total  int64
	max    time.Duration
}

const (
	subBits    = 7
	subBuckets = 1 << subBits
)

func (h *histogram) record(d time.Duration) {
	d = max(d, 0)
	h.counts[bucket(d)]++
	h.total++
	h.max = max(h.max, d)
}

func (h *histogram) add(other *histogram) {
	for i, n := range other.counts {
		h.counts[i] += n
	}
	h.total += other.total
	h.max = max(h.max, other.max)
}

// quantile is the smallest duration, rounded up to its bucket's end, that a share q of
// what was recorded does not exceed; 0 if nothing was.
func (h *histogram) quantile(q float64) time.Duration {
	want := max(int64(q*float64(h.total)+0.5), 1)
	for i, n := range h.counts {
		if want -= n; want <= 0 && n > 0 {
			return min(bucketEnd(i), h.max)
		}
	}
	return h.max
}

func bucket(d time.Duration) int {
	if d < subBuckets {
		return int(d)
	}
	shift := bits.Len64(uint64(d)) - subBits - 1
	return shift*subBuckets + int(d>>shift)
}

func bucketEnd(i int) time.Duration {
	if i < 2*subBuckets {
		return time.Duration(i)
	}
	shift := i/subBuckets - 1
	return time.Duration(i-shift*subBuckets+1)<<shift - 1
}
