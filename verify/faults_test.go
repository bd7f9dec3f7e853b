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
	held    func() error
	uses    func(append func() error) error
	summary func(append func() error) error
}

func (f *faulty) Suspended() error {
	if f.held == nil {
		return f.Ledger.Suspended()
	}
	return f.held()
}

func (f *faulty) AppendUses(ctx context.Context, org domain.OrgID, b *eventstore.UseBatch) (p eventstore.Position, err error) {
	return around(f.uses, func() (eventstore.Position, error) { return f.Ledger.AppendUses(ctx, org, b) })
}

func (f *faulty) AppendSummary(ctx context.Context, s *eventstore.Summary) (eventstore.Position, error) {
	return around(f.summary, func() (eventstore.Position, error) { return f.Ledger.AppendSummary(ctx, s) })
}

func around(fault func(func() error) error, append func() (eventstore.Position, error)) (p eventstore.Position, err error) {
	if fault == nil {
		return append()
	}
	err = fault(func() (err error) { p, err = append(); return err })
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
