package verify

import (
	"slices"
	"sync"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/projections"
)

// A limiter counts valid uses of keys that have rate limits, exactly, in fixed windows. It
// holds only keys that were used in a window that has not passed. A key that it does not
// hold is taken over from the read model, so that a restart forgets nothing.
type limiter struct {
	store  *projections.Store
	now    func() time.Time
	shards [64]shard
}

type shard struct {
	mu   sync.Mutex
	keys map[domain.KeyID][]windowCount
}

// A window is a time in which uses are counted. Times are milliseconds.
type window struct{ length, start int64 }

// A windowCount is the valid uses of one key in a window.
type windowCount struct {
	window
	count int64
}

func newLimiter(s *projections.Store, now func() time.Time) *limiter {
	l := &limiter{store: s, now: now}
	for i := range l.shards {
		l.shards[i].keys = map[domain.KeyID][]windowCount{}
	}
	return l
}

// evaluate asks the domain with the counts of the key, and counts the use if it is valid.
// The lock is held over both: no two uses take the same place. The time is taken behind it,
// so that it goes backwards only if the clock does.
func (l *limiter) evaluate(r domain.UseRequest, a *Answer) error {
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
	a.at = instant(l.now)
	r.At = a.at
	now := a.at.UnixMilli()
	a.counts = a.counts[:0]
	for _, limit := range c.RateLimits {
		w := windowOf(limit, now)
		held = hold(held, w)
		a.counts = append(a.counts, a.others(held, w))
	}
	r.Counts = a.counts
	if a.Outcome = c.Decide(r); a.Outcome == domain.UseValid {
		for _, limit := range c.RateLimits {
			a.count(held, windowOf(limit, now))
		}
	}
	s.keys[domain.KeyID(string([]byte(c.Key)))] = held
	if a.Outcome != domain.UseNotFound {
		a.showLimits(held, now)
	}
	return nil
}

func windowOf(l domain.RateLimit, now int64) window {
	w := l.WindowAt(now)
	return window{w.Length, w.Start}
}

func (l *limiter) shard(id domain.KeyID) *shard {
	return &l.shards[(int(id[len(id)-2])*31+int(id[len(id)-3]))%len(l.shards)]
}

// seed takes over the counts that the ledger has. No use of this process can be among
// them: its first one brings the key here.
func (l *limiter) seed(id domain.KeyID) ([]windowCount, error) {
	counts, err := l.store.WindowCounts(id)
	held := make([]windowCount, len(counts))
	for i, c := range counts {
		held[i] = windowCount{window{c.Length, c.Start}, c.Count}
	}
	return held, err
}

// hold makes w the window of its length, without a use if it is another one than before. A
// window that begins in the future is another one, too: a clock told it that was ahead.
func hold(held []windowCount, w window) []windowCount {
	for i := range held {
		if held[i].length == w.length {
			if held[i].window != w {
				held[i] = windowCount{window: w}
			}
			return held
		}
	}
	return append(held, windowCount{window: w})
}

func countOf(held []windowCount, w window) int64 {
	for _, h := range held {
		if h.window == w {
			return h.count
		}
	}
	return 0
}

// others is how many requests other than a's count in w.
func (a *Answer) others(held []windowCount, w window) int64 {
	n := countOf(held, w)
	if slices.Contains(a.counted, w) {
		n--
	}
	return n
}

// count makes the request count in w, once.
func (a *Answer) count(held []windowCount, w window) {
	if slices.Contains(a.counted, w) {
		return
	}
	a.counted, a.windows = append(a.counted, w), append(a.windows, w.length)
	for i := range held {
		if held[i].window == w {
			held[i].count++
		}
	}
}

// showLimits puts how each limit stands into the answer.
func (a *Answer) showLimits(held []windowCount, now int64) {
	for _, limit := range a.Credential.RateLimits {
		w := windowOf(limit, now)
		a.Limits = append(a.Limits, LimitState{limit, max(0, limit.Limit-countOf(held, w)), (w.start + w.length) / 1000})
	}
}

// sweep lets go of keys all of whose windows are far from now, with a window's length to
// spare for the read model, from which a key that comes back is taken over again.
func (l *limiter) sweep(now int64) {
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.Lock()
		for id, held := range s.keys {
			near := func(w windowCount) bool { return max(now-w.start, w.start-now) <= 2*w.length }
			if !slices.ContainsFunc(held, near) {
				delete(s.keys, id)
			}
		}
		s.mu.Unlock()
	}
}
