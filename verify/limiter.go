package verify

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/projections"
)

// A limiter counts valid uses of keys that have rate limits, exactly, in fixed windows, each
// as many times as it costs. It has only keys that were used in a window that has not passed. A key that it does not have
// is taken over from the read model, so that a restart forgets nothing.
type limiter struct {
	store  *projections.Store
	now    func() time.Time
	shards [64]shard
}

// A shard is the keys whose ids have one hash.
type shard struct {
	mu   sync.Mutex
	keys map[domain.KeyID]*windowCounts
}

// windowCounts are what the valid uses of one key cost, in one window of each length.
type windowCounts []domain.WindowCount

func newLimiter(s *projections.Store, now func() time.Time) *limiter {
	l := &limiter{store: s, now: now}
	for i := range l.shards {
		l.shards[i].keys = map[domain.KeyID]*windowCounts{}
	}
	return l
}

// evaluate asks the domain with the counts of the key, and counts the use if it is valid.
// The key's shard is locked meanwhile: no two uses take the same place of a limit. The time
// is taken under that lock, so that it goes backwards only if the clock does.
func (l *limiter) evaluate(r domain.UseRequest, a *Answer) error {
	c := &a.Credential
	s := l.shard(c.Key)
	s.mu.Lock()
	defer s.mu.Unlock()
	counts, err := l.countsOf(s, c.Key)
	if err != nil {
		return err
	}
	if r.Used == nil { // else it was taken under a lock that all uses of the key take
		a.at = instant(l.now)
	}
	now := a.at.UnixMilli()
	a.counts = a.counts[:0]
	for _, limit := range c.RateLimits {
		w := limit.WindowAt(now)
		counts.enter(w)
		a.counts = append(a.counts, a.others(*counts, w))
	}
	r.At, r.Counts = a.at, a.counts
	a.Outcome = c.Decide(r)
	if a.Outcome == domain.UseValid {
		for _, limit := range c.RateLimits {
			a.count(*counts, limit.WindowAt(now))
		}
	}
	if a.Outcome != domain.UseNotFound {
		a.showLimits(*counts, now)
	}
	return nil
}

func (l *limiter) shard(id domain.KeyID) *shard {
	return &l.shards[(int(id[len(id)-2])*31+int(id[len(id)-3]))%len(l.shards)]
}

// countsOf gives the counts of a key, at first those that the ledger has. No use of this
// process can be among the latter: its first one brings the key here. s.mu is held.
func (l *limiter) countsOf(s *shard, id domain.KeyID) (*windowCounts, error) {
	if counts := s.keys[id]; counts != nil {
		return counts, nil
	}
	onLedger, err := l.store.WindowCounts(id)
	if err != nil {
		return nil, err
	}
	counts := windowCounts(onLedger)
	s.keys[domain.KeyID(strings.Clone(string(id)))] = &counts // id is a part of a credential's row, which the map would keep
	return &counts, nil
}

// enter makes w the current window of its length. If another one was that before, w begins
// without a use: also if that one begins later, as one from a clock that was ahead does.
func (c *windowCounts) enter(w domain.Window) {
	for i := range *c {
		if current := &(*c)[i]; current.Length == w.Length {
			if current.Window != w {
				*current = domain.WindowCount{Window: w}
			}
			return
		}
	}
	*c = append(*c, domain.WindowCount{Window: w})
}

// in is the count of w: the cost of the uses in it.
func (c windowCounts) in(w domain.Window) int64 {
	for i := range c {
		if c[i].Window == w {
			return c[i].Count
		}
	}
	return 0
}

// others is what requests other than a's count in w.
func (a *Answer) others(c windowCounts, w domain.Window) int64 {
	n := c.in(w)
	if slices.Contains(a.counted, w) {
		n -= a.cost
	}
	return n
}

// count makes the request count in w, once, with its cost.
func (a *Answer) count(c windowCounts, w domain.Window) {
	if slices.Contains(a.counted, w) {
		return
	}
	a.counted, a.windows = append(a.counted, w), append(a.windows, w.Length)
	for i := range c {
		if c[i].Window == w {
			c[i].Count += a.cost
		}
	}
}

// showLimits puts what is left of each limit into the answer.
func (a *Answer) showLimits(c windowCounts, now int64) {
	for _, limit := range a.Credential.RateLimits {
		w := limit.WindowAt(now)
		a.Limits = append(a.Limits, LimitState{limit, max(0, limit.Limit-c.in(w)), w.End() / 1000})
	}
}

// sweep forgets keys all of whose windows ended more than their length ago: by then the read
// model, from which a key that comes back is taken over, has their uses. Windows as far
// ahead, of a clock that was wrong, are forgotten, too.
func (l *limiter) sweep(now int64) {
	near := func(w domain.WindowCount) bool { return max(now-w.Start, w.Start-now) <= 2*w.Length }
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.Lock()
		for id, counts := range s.keys {
			if !slices.ContainsFunc(*counts, near) {
				delete(s.keys, id)
			}
		}
		s.mu.Unlock()
	}
}
