package backoff

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestSleepWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		if err := Sleep(t.Context(), time.Hour); err != nil || time.Since(begun) != time.Hour {
			t.Errorf("Sleep took %v and returned %v", time.Since(begun), err)
		}
	})
}

func TestSleepEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begun := time.Now()
		if err := Sleep(ctx, time.Hour); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != time.Minute {
			t.Errorf("Sleep took %v and returned %v", time.Since(begun), err)
		}
	})
}

func TestJitterIsFromHalfToAll(t *testing.T) {
	for range 1000 {
		if d := Jitter(10); d < 5 || d > 10 {
			t.Fatalf("Jitter(10) = %d", d)
		}
	}
}
