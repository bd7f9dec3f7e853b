package api

import (
	"errors"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/keytrail/keytrail/domain"
)

// bulkAtOnce is how many parts of one request are carried out at once.
const bulkAtOnce = 8

// inParallel carries out each part of a request, several at once, and gives the results to
// done, one at a time. When the ledger has not answered one part in its time, the parts that
// have not begun are refused: each of them would wait as long.
func inParallel[P, R any](parts []P, do func(P) (R, error), done func(i int, result R, err error)) {
	var mu sync.Mutex
	var outage atomic.Bool
	var tasks errgroup.Group
	tasks.SetLimit(bulkAtOnce)
	for i, part := range parts {
		tasks.Go(func() error {
			var result R
			var err error = domain.ErrLedgerUnavailable
			if !outage.Load() {
				result, err = do(part)
			}
			if errors.Is(err, domain.ErrLedgerUnavailable) {
				outage.Store(true)
			}
			mu.Lock()
			defer mu.Unlock()
			done(i, result, err)
			return nil
		})
	}
	_ = tasks.Wait() // each failure went to done
}
