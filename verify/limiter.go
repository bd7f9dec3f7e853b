package verify

import (
	"sync"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/projections"
)

// A limiter counts valid uses of keys that have rate limits, exactly, in fixed windows. It
// holds only keys that were used in a window that has not passed. A key that it does not
// hold is taken over from the read model, so that a restart forgets nothing.
type limiter struct {
	store  *projections.Store
	shards [64]shard
}

type shard struct {
	mu   sync.Mutex
	keys map[domain.KeyID][]windowCount
}

// A windowCount is the uses of one key in the window that began at start. Times are
// milliseconds.
type windowCount struct{ length, start, count int64 }

func newLimiter(s *projections.Store) *limiter {
	l := &limiter{store: s}
	for i := range l.shards {
		l.shards[i].keys = map[domain.KeyID][]windowCount{}
	}
	return l
}

// decide asks the domain with the counts of the key, and counts the use if it is valid.
// The lock is held over both: no two uses take the same place.
func (l *limiter) decide(r domain.UseRequest, a *Answer) error {
	c := &a.Credential
	s := l.shard(c.Key)
	s.mu.Lock()
	defer s.mu.Unlock()
	held, known := s.keys[c.Key]
	if !known {
		var err error
		if held, err = l.seed(c.Key); err != nil {
			return err
		}
	}
	now := r.At.UnixMilli()
	a.counts = a.counts[:0]
	for _, limit := range c.RateLimits {
		held = atWindow(held, limit.Window.Milliseconds(), limit.Start(now))
		a.counts = append(a.counts, countOf(held, limit.Window.Milliseconds()))
	}
	r.Counts = a.counts
	if a.Outcome = c.Decide(r); a.Outcome == domain.UseValid {
		for _, limit := range c.RateLimits {
			take(held, limit.Window.Milliseconds())
			a.windows = append(a.windows, limit.Window.Milliseconds())
		}
	}
	s.keys[domain.KeyID(string([]byte(c.Key)))] = held
	if a.Outcome != domain.UseNotFound {
		a.tell(held, now)
	}
	return nil
}

func (l *limiter) shard(id domain.KeyID) *shard {
	return &l.shards[(int(id[len(id)-2])*31+int(id[len(id)-3]))%len(l.shards)]
}

// seed takes over the counts that the ledger has. No use of this process can be among
// them: its first one brings the key here.
func (l *limiter) seed(id domain.KeyID) ([]windowCount, error) {
	counters, err := l.store.Counters(id)
	held := make([]windowCount, len(counters))
	for i, c := range counters {
		held[i] = windowCount{c.Window, c.Start, c.Count}
	}
	return held, err
}

// atWindow moves the count for one length on to the window that begins at start.
func atWindow(held []windowCount, length, start int64) []windowCount {
	for i := range held {
		if held[i].length == length {
			if held[i].start < start {
				held[i].start, held[i].count = start, 0
			}
			return held
		}
	}
	return append(held, windowCount{length, start, 0})
}

func countOf(held []windowCount, length int64) int64 {
	for _, w := range held {
		if w.length == length {
			return w.count
		}
	}
	return 0
}

func take(held []windowCount, length int64) {
	for i := range held {
		if held[i].length == length {
			held[i].count++
		}
	}
}

// tell puts how each limit stands into the answer.
func (a *Answer) tell(held []windowCount, now int64) {
	for _, limit := range a.Credential.RateLimits {
		length := limit.Window.Milliseconds()
		a.Limits = append(a.Limits, LimitState{limit, max(0, limit.Limit-countOf(held, length)), (limit.Start(now) + length) / 1000})
	}
}

// sweep lets go of keys all of whose windows have passed, with a window's length to spare
// for the read model, from which a key that comes back is taken over again.
func (l *limiter) sweep(now int64) {
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.Lock()
		for id, held := range s.keys {
			passed := true
			for _, w := range held {
				passed = passed && w.start+2*w.length < now
			}
			if passed {
				delete(s.keys, id)
			}
		}
		s.mu.Unlock()
	}
}
