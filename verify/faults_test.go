package verify_test

import (
	"context"
	"sync/atomic"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/verify"
)

// faulty is the real ledger with faults around it. A nil function is the real method.
type faulty struct {
	*eventstore.Ledger
	held func() error
	uses func(append func() error) error
}

func (f *faulty) Suspended() error {
	if f.held == nil {
		return f.Ledger.Suspended()
	}
	return f.held()
}

func (f *faulty) AppendUses(ctx context.Context, b *eventstore.UseBatch) (p eventstore.Position, err error) {
	if f.uses == nil {
		return f.Ledger.AppendUses(ctx, b)
	}
	err = f.uses(func() (err error) { p, err = f.Ledger.AppendUses(ctx, b); return err })
	return p, err
}

// on is for openWith: f on the desk's ledger.
func (f *faulty) on(d *desk) verify.UseLog {
	f.Ledger = d.ledger
	return f
}

// losing is a fault that loses the acknowledgement of the first n appends.
func losing(n int64) func(func() error) error {
	var lost atomic.Int64
	return func(append func() error) error {
		err := append()
		if lost.Add(1) <= n {
			return domain.ErrLedgerUnavailable
		}
		return err
	}
}

// failing is a fault that fails the first n appends before they take effect.
func failing(n int64) func(func() error) error {
	var failed atomic.Int64
	return func(append func() error) error {
		if failed.Add(1) <= n {
			return domain.ErrLedgerUnavailable
		}
		return append()
	}
}

// stuck is a fault that holds appends up until release is called.
func stuck() (fault func(func() error) error, release func()) {
	gate := make(chan struct{})
	return func(append func() error) error {
		<-gate
		return append()
	}, func() { close(gate) }
}
