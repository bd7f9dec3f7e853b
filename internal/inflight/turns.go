package inflight

import (
	"slices"
	"sync"
)

// Turns are a semaphore whose slots are given to holders by round robin: a holder that waits for
// many keeps none that waits for one from its turn. Concurrent use is safe.
type Turns[K comparable] struct {
	mu      sync.Mutex
	free    int
	share   int // slots that one holder may have
	held    map[K]int
	waiting map[K][]*Turn[K] // by holder, oldest first; none is empty
	order   []K              // who waits, in the order of their turns
}

// A Turn is a slot, or a place in the queue for one.
type Turn[K comparable] struct {
	Granted chan struct{} // closed when it is a slot
	turns   *Turns[K]
	holder  K
}

// NewTurns is a semaphore of so many slots, of which one holder has a share at most.
func NewTurns[K comparable](slots, share int) *Turns[K] {
	return &Turns[K]{free: slots, share: share, held: map[K]int{}, waiting: map[K][]*Turn[K]{}}
}

// Ask takes a slot for k as soon as there is one. Done must follow.
func (t *Turns[K]) Ask(k K) *Turn[K] {
	t.mu.Lock()
	defer t.mu.Unlock()
	turn := &Turn[K]{Granted: make(chan struct{}), turns: t, holder: k}
	if len(t.waiting[k]) == 0 {
		t.order = append(t.order, k)
	}
	t.waiting[k] = append(t.waiting[k], turn)
	t.grant()
	return turn
}

// Done gives the slot back, or leaves the queue.
func (turn *Turn[K]) Done() {
	t, k := turn.turns, turn.holder
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.Index(t.waiting[k], turn); i >= 0 {
		t.dequeue(k, i)
		return
	}
	t.free++
	if t.held[k]--; t.held[k] == 0 {
		delete(t.held, k)
	}
	t.grant()
}

// grant gives free slots to holders that have less than their share.
func (t *Turns[K]) grant() {
	for t.free > 0 {
		i := slices.IndexFunc(t.order, func(k K) bool { return t.held[k] < t.share })
		if i < 0 {
			return
		}
		k := t.order[i]
		t.free--
		t.held[k]++
		close(t.waiting[k][0].Granted)
		t.dequeue(k, 0)
		if len(t.waiting[k]) > 0 { // it is the last one now
			t.order = append(slices.Delete(t.order, i, i+1), k)
		}
	}
}

// dequeue takes one out of a holder's queue.
func (t *Turns[K]) dequeue(k K, i int) {
	if t.waiting[k] = slices.Delete(t.waiting[k], i, i+1); len(t.waiting[k]) > 0 {
		return
	}
	delete(t.waiting, k)
	at := slices.Index(t.order, k)
	t.order = slices.Delete(t.order, at, at+1)
}
