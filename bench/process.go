package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/procfs"

	"github.com/keytrail/keytrail/internal/backoff"
)

// processorTime is what a process has used of the processors so far, in seconds.
func processorTime(pid int) (float64, error) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return 0, err
	}
	stat, err := p.Stat()
	return stat.CPUTime(), err
}

// processorTimeOf is what a process uses of the processors while f runs, in seconds.
func processorTimeOf(pid int, f func() error) (float64, error) {
	before, err1 := processorTime(pid)
	err2 := f()
	after, err3 := processorTime(pid)
	return after - before, errors.Join(err1, err2, err3)
}

// untilIdle waits until a process has rested for a second (-smoke: less): work that a load left behind
// (usage counts, compactions) must burden neither the next trial nor a look at its
// memory. It returns the processor time that this work took, in seconds.
func (e *env) untilIdle(ctx context.Context, pid int) (float64, error) {
	const timeout, resting = 5 * time.Minute, 0.035
	first, err := processorTime(pid)
	for last, begin := first, time.Now(); err == nil; {
		if time.Since(begin) > timeout {
			return 0, fmt.Errorf("process %d was not idle after %v", pid, timeout)
		}
		if err := backoff.Sleep(ctx, e.idle); err != nil {
			return 0, err
		}
		var now float64
		now, err = processorTime(pid)
		if now-last <= resting*e.idle.Seconds() {
			return now - first, err
		}
		last = now
	}
	return 0, err
}
