package forwarders

import (
	"time"

	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/internal/backoff"
)

// sweepAgain is the pause before another try of a sweep that failed.
const sweepAgain = 30 * time.Second

// sweep deletes what is kept of sinks that were deleted while no process forwarded, or that a
// former holder could not delete.
func (t *tenure) sweep() {
	for {
		err := t.sweepOnce()
		if err == nil || t.soft.Err() != nil {
			return
		}
		t.engine.Logger.WarnContext(t.soft, "what was kept of deleted sinks may still be there; will try again", "err", err)
		if backoff.Sleep(t.soft, backoff.Jitter(sweepAgain)) != nil {
			return
		}
	}
}

// sweepOnce judges by a read model that has all events of the moment at which it looked: something
// is kept only of sinks that were created before.
func (t *tenure) sweepOnce() error {
	kept, err := t.engine.Ledger.KeptSinks(t.soft)
	if err != nil {
		return err
	}
	end, err := t.engine.Ledger.End(t.soft, eventstore.Events)
	if err != nil {
		return err
	}
	for id := range kept {
		_, exists, err := t.engine.Catalog.Sink(t.soft, id, end)
		if err == nil && !exists {
			err = t.engine.Ledger.DeleteSink(t.soft, id)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
