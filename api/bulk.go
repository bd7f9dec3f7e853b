package api

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/keytrail/keytrail/domain"
)

// bulkSlots is how many parts of all bulk requests together are carried out at once: two
// atomic batches, one that is on its way to the ledger and the next. Tests lower it.
var bulkSlots = 2000

// inParallel carries out each part of a request, many at once, and gives the results to
// done, one at a time. Requests that run together take turns. When the ledger has not answered one part in its
// time, the parts that have not begun are refused: each of them would wait as long.
func inParallel[P, R any](s *server, parts []P, do func(P) (R, error), done func(i int, result R, err error)) {
	var mu sync.Mutex
	var outage atomic.Bool
	var tasks sync.WaitGroup
	for i, part := range parts {
		s.bulk <- struct{}{}
		tasks.Go(func() {
			defer func() { <-s.bulk }()
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
		})
	}
	tasks.Wait()
}
