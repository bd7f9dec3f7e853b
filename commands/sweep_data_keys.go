package commands

import (
	"context"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// sweepEvery is how often data keys are compared with the ledger. It is much longer than a command
// can take from its data key to its event; tests lower it.
var sweepEvery = time.Hour

// SweepDataKeys destroys the data keys that are left over, in a pass at once and then every hour,
// until ctx ends. Any number of nodes may do so.
func (h *Handler) SweepDataKeys(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	var unknown map[eventstore.DataKeyRef]bool
	for {
		var err error
		if unknown, err = h.sweepDataKeys(ctx, unknown); err != nil && ctx.Err() == nil {
			h.log.WarnContext(ctx, "data keys not swept; the next pass tries again", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// maxUnknown bounds the memory of a pass for data keys that it is not sure about.
const maxUnknown = 10_000

// sweepDataKeys is one pass. A data key whose secret is in no event may be one of a command that is
// being carried out: it is destroyed if the pass before, known by before, did not know it either. No
// clock is asked, so that none can be wrong.
func (h *Handler) sweepDataKeys(ctx context.Context, before map[eventstore.DataKeyRef]bool) (unknown map[eventstore.DataKeyRef]bool, err error) {
	unknown = map[eventstore.DataKeyRef]bool{}
	var over []eventstore.DataKeyRef
	err = h.dataKeys.EachDataKey(ctx, func(ref eventstore.DataKeyRef) error {
		named, needed, err := h.findSecret(ctx, ref)
		switch {
		case err != nil || needed || len(over)+len(unknown) >= maxUnknown:
		case named || before[ref]:
			over = append(over, ref)
		default:
			unknown[ref] = true
		}
		return err
	})
	for _, ref := range over {
		if failure := h.dataKeys.DestroyDataKey(ctx, ref); failure != nil {
			return unknown, failure
		}
	}
	return unknown, err
}

// findSecret reports whether a data key is that of one of the key's secrets, and whether of the one
// that can be revealed. The read model is believed that it is needed; the ledger, that it is not.
func (h *Handler) findSecret(ctx context.Context, ref eventstore.DataKeyRef) (named, needed bool, err error) {
	if k, _, found := h.knownKey(ref.Org, ref.Key); found {
		if named, needed = isOf(ref, k); needed {
			return named, needed, nil
		}
	}
	var k domain.Key
	if _, err = h.ledger.Load(ctx, eventstore.KeyRef(ref.Org, ref.Key), 0, func(r eventstore.Record) { k.Apply(r.Event) }); err != nil {
		return false, false, err
	}
	named, needed = isOf(ref, k)
	return named, needed, nil
}

func isOf(ref eventstore.DataKeyRef, k domain.Key) (named, needed bool) {
	for i, s := range k.Secrets {
		if dataKeyRef(k.Org, k.ID, s.Digest) == ref {
			return true, i == 0 && k.State != domain.Revoked
		}
	}
	return false, false
}
