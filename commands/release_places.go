package commands

import (
	"context"
	"time"
)

const (
	// releaseEvery is the pause between passes over places without a key, which are there after
	// a crash. A full quota gives them back by itself.
	releaseEvery = 10 * time.Second
	// leftAfter is how long a place is without a key until it is taken for left behind: several
	// times what a request may take.
	leftAfter = time.Minute
	// maxReleased bounds the keys of one pass.
	maxReleased = 100
)

// ReleasePlaces gives back places that keys took and do not use, in a pass every ten seconds, until ctx ends.
func (h *Handler) ReleasePlaces(ctx context.Context) {
	tick := time.NewTicker(releaseEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			h.releaseUnused(ctx)
		}
	}
}

// releaseUnused is one pass. A place that cannot be given back does not keep the others from it.
func (h *Handler) releaseUnused(ctx context.Context) {
	holds, err := h.quotas.Unused(h.now().Add(-leftAfter), maxReleased)
	for i, hold := range holds {
		if failure := h.giveBack(ctx, hold.Org, hold.QuotaOf, holds[i:i+1]); failure != nil {
			err = failure
		}
	}
	if err != nil && ctx.Err() == nil {
		h.log.WarnContext(ctx, "places without a key were not given back; the next pass tries again", "err", err)
	}
}
