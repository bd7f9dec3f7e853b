// Package inflight counts how much each of many holders holds at once: requests of an
// address, streams of a key. A holder that holds nothing takes no memory.
package inflight

import (
	"hash/maphash"
	"sync"
)

// shards is how many locks the holders share; a power of two.
const shards = 64

// Counts are the counts of holders of type K. Concurrent use is safe.
type Counts[K comparable] struct {
	seed   maphash.Seed
	shards [shards]shard[K]
}

type shard[K comparable] struct {
	mu   sync.Mutex
	held map[K]int
	_    [48]byte // two shards' locks are never in one cache line
}

// New is a set of counts, all zero.
func New[K comparable]() *Counts[K] {
	c := &Counts[K]{seed: maphash.MakeSeed()}
	for i := range c.shards {
		c.shards[i].held = map[K]int{}
	}
	return c
}

func (c *Counts[K]) of(k K) *shard[K] {
	return &c.shards[maphash.Comparable(c.seed, k)%shards]
}

// Enter counts one more for k and gives its count. A Leave must follow, whether or not the
// count is more than the holder may have.
func (c *Counts[K]) Enter(k K) int {
	s := c.of(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[k]++
	return s.held[k]
}

// Leave takes one back.
func (c *Counts[K]) Leave(k K) {
	s := c.of(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[k]--
	if s.held[k] <= 0 {
		delete(s.held, k)
	}
}
