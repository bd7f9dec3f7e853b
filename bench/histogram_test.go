package main

import (
	"testing"
	"time"
)

func TestEveryDurationIsInABucketThatEndsWithinOnePercentOfIt(t *testing.T) {
	previous := -1
	for d := time.Duration(0); d < time.Minute; d += d/300 + 1 {
		i := bucket(d)
		if i < previous {
			t.Fatalf("%v is in bucket %d, below that of a shorter duration, %d", d, i, previous)
		}
		previous = i
		if end := bucketEnd(i); end < d || float64(end-d) > 0.01*float64(d) {
			t.Fatalf("%v is in bucket %d, which ends at %v", d, i, end)
		}
		if bucket(bucketEnd(i)) != i || bucket(bucketEnd(i)+1) != i+1 {
			t.Fatalf("bucket %d does not end at %v", i, bucketEnd(i))
		}
	}
}

func TestQuantilesOfAKnownSet(t *testing.T) {
	var odd, even, all histogram
	for i := 1; i <= 10_000; i++ {
		h := &even
		if i%2 == 1 {
			h = &odd
		}
		h.record(time.Duration(i) * time.Microsecond)
	}
	all.add(&odd)
	all.add(&even)
	for q, want := range map[float64]time.Duration{0: time.Microsecond, 0.5: 5 * time.Millisecond, 0.99: 9900 * time.Microsecond, 1: 10 * time.Millisecond} {
		if got := all.quantile(q); got < want || float64(got-want) > 0.01*float64(want) {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	if got := new(histogram).quantile(0.5); got != 0 {
		t.Errorf("the median of nothing is %v", got)
	}
}
