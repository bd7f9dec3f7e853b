package verify

import (
	"time"

	"github.com/keytrail/keytrail/domain"
)

// sweeps is how many times in useTimeout the deadlines are looked at.
const sweeps = 50

// cover adds the deadline of a use to b's: its requests are woken at the earliest of them, and
// its append is tried until the latest.
func (b *batch) cover(deadline time.Time) {
	if b.earliest.IsZero() || deadline.Before(b.earliest) {
		b.earliest = deadline
	}
	if deadline.After(b.latest) {
		b.latest = deadline
	}
}

// checkDeadline refuses a request whose deadline has passed.
func checkDeadline(deadline time.Time) error {
	if time.Now().After(deadline) {
		return domain.ErrLedgerUnavailable
	}
	return nil
}

// scheduleSweep sets the timer of sweep, unless it runs. One timer for all requests is
// cheaper than one for each. r.mu is held.
func (r *recorder) scheduleSweep() {
	if !r.sweeping {
		r.sweeping = true
		time.AfterFunc(useTimeout/sweeps, r.sweep)
	}
}

// sweep wakes the requests of batches in which a deadline may have passed, and those that
// wait for room: they check their own deadlines. It is repeated while anything waits.
func (r *recorder) sweep() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sweeping = false
	if r.durability == Durable {
		r.wakeLate(time.Now())
	}
	r.wakeForRoom()
	if len(r.batches) > 0 {
		r.scheduleSweep()
	}
}

// wakeLate wakes the requests of batches whose earliest deadline has passed.
func (r *recorder) wakeLate(now time.Time) {
	for _, b := range r.batches {
		if now.After(b.earliest) {
			close(b.wake)
			b.wake = make(chan struct{})
		}
	}
}

// wakeForRoom wakes the requests that wait for room.
func (r *recorder) wakeForRoom() {
	if r.room != nil {
		close(r.room)
		r.room = nil
	}
}

// wakeOf is the channel that is closed when b's requests are to look again.
func (r *recorder) wakeOf(b *batch) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return b.wake
}
