package main

import (
	"log/slog"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// heapShare is how much of the memory that its container may have a process's Go heap gets. The
// rest is for what is not on it, above all the files that Badger maps: the kernel takes their
// pages back, but not while they are being written.
const heapShare = 0.75

// limitHeap holds the heap in the container's memory limit. The garbage collector else lets it
// grow to twice of what is live, past the limit, and the kernel ends the process. GOMEMLIMIT has
// precedence; where memory is not limited nothing is.
func limitHeap(log *slog.Logger) {
	limit, err := memlimit.SetGoMemLimitWithOpts(memlimit.WithRatio(heapShare))
	switch {
	case err != nil:
		log.Debug("the memory limit of the container is not known", "err", err)
	case limit > 0:
		log.Info("the heap is held in the container's memory limit", "heap_bytes", limit)
	}
}
