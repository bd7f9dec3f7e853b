package verify

import (
	"time"

	"github.com/keytrail/keytrail/domain"
)

// sweeps is how often in that time it is looked whose deadline has passed.
const sweeps = 50

func late(deadline time.Time) error {
	if time.Now().After(deadline) {
		return domain.ErrLedgerUnavailable
	}
	return nil
}

func (r *recorder) wakeOf(b *batch) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return b.wake
}

// sweep wakes the requests of batches in which a deadline may have passed, and those that
// wait for room, and does so again as long as anything waits. One timer for all is cheaper
// than one for each request.
func (r *recorder) sweep() {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	for e := r.waiting.Front(); e != nil && r.durability == Durable; e = e.Next() {
		if b := e.Value.(*batch); now.After(b.earliest) {
			close(b.wake)
			b.wake = make(chan struct{})
		}
	}
	r.wakeForRoom()
	if r.sweeping = r.waiting.Len() > 0; r.sweeping {
		time.AfterFunc(useTimeout/sweeps, r.sweep)
	}
}

func (r *recorder) wakeForRoom() {
	if r.room != nil {
		close(r.room)
		r.room = nil
	}
}

// cover makes b's requests look again at deadline, and its writing go on until then.
func (b *batch) cover(deadline time.Time) {
	if b.earliest.IsZero() || deadline.Before(b.earliest) {
		b.earliest = deadline
	}
	if deadline.After(b.latest) {
		b.latest = deadline
	}
}
