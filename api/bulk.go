package api

import (
	"errors"
	"sync/atomic"

	"github.com/keytrail/keytrail/domain"
)

const bulkAtOnce = 8

// An outage ends a request of many parts when the ledger has not answered one of them in
// its time: the others, which would each wait as long, are refused at once.
type outage struct{ atomic.Bool }

func (o *outage) unless(do func() error) error {
	if o.Load() {
		return domain.ErrLedgerUnavailable
	}
	err := do()
	if errors.Is(err, domain.ErrLedgerUnavailable) {
		o.Store(true)
	}
	return err
}
