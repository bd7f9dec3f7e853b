package verify

import (
	"sync"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/projections"
)

// meters count the valid uses of a calendar month by organization, owner and key, exactly, where the
// organization's plan bounds them. They have only those that were used within meterIdle. One that
// they do not have is taken over from the read model, so that a restart forgets nothing; and as the
// read model has the uses of other processes, too, it is looked at again every meterRefresh.
type meters struct {
	store  *projections.Store
	now    func() time.Time
	shards [64]meterShard
}

// A meterShard is the meters of the organizations whose ids have one hash. Its lock is held while a
// use is decided, so that no two take the same place of a quota.
type meterShard struct {
	mu     sync.Mutex
	meters map[projections.Meter]*meterCount
}

// A meterCount is what the uses of a meter cost. One takes some 120 bytes with its place in the map.
type meterCount struct {
	uses  int64
	asked int64 // when the read model was asked last, by the clock of the machine
}

const (
	// meterRefresh is how far the uses of other processes may be behind, beside the read model's own lag.
	meterRefresh = 5 * time.Second
	// meterIdle bounds the memory: to what is used in an hour. It is much longer than the read model takes to have
	// a use, so that what is forgotten is there.
	meterIdle = time.Hour
)

func newMeters(s *projections.Store, now func() time.Time) *meters {
	m := &meters{store: s, now: now}
	for i := range m.shards {
		m.shards[i].meters = map[projections.Meter]*meterCount{}
	}
	return m
}

// evaluate decides with the counts of the month, and counts the use if it is valid. The time is
// taken under the lock, as that of limits is.
func (m *meters) evaluate(r domain.UseRequest, a *Answer, decide func(domain.UseRequest, *Answer) error) error {
	org := a.Credential.OrgBytes()
	s := &m.shards[org[len(org)-1]%uint8(len(m.shards))]
	s.mu.Lock()
	defer s.mu.Unlock()
	a.at = instant(m.now)
	month := domain.MonthAt(a.at)
	if err := m.load(s, a, month); err != nil {
		return err
	}
	a.used = a.used[:0]
	for i := range a.quotas {
		used := a.meters[i].uses
		if a.metered == month {
			used -= a.cost
		}
		a.used = append(a.used, used)
	}
	r.At, r.Quotas, r.Used = a.at, a.quotas, a.used
	if err := decide(r, a); err != nil {
		return err
	}
	if a.Outcome == domain.UseValid && a.metered != month {
		for _, c := range a.meters {
			c.uses += a.cost
		}
	}
	if a.Outcome != domain.UseNotFound {
		a.showQuotas(month)
	}
	return nil
}

// load puts the meters of the answer's quotas into it, as new as they need to be. s.mu is held.
func (m *meters) load(s *meterShard, a *Answer, month domain.Month) error {
	a.meters = a.meters[:0]
	now := time.Now().UnixNano()
	for _, q := range a.quotas {
		meter := projections.MeterOf(&a.Credential, q.Of, month)
		c := s.meters[meter]
		if c == nil {
			c = &meterCount{}
			s.meters[meter] = c
		}
		if now-c.asked >= int64(meterRefresh) {
			stored, err := m.store.MonthlyUses(meter)
			if err != nil {
				if c.asked == 0 {
					delete(s.meters, meter)
				}
				return err
			}
			c.uses, c.asked = max(c.uses, stored), now
		}
		a.meters = append(a.meters, c)
	}
	return nil
}

// showQuotas puts what is left of each quota into the answer.
func (a *Answer) showQuotas(month domain.Month) {
	for i, q := range a.quotas {
		a.Quotas = append(a.Quotas, QuotaState{q, max(0, q.Limit-a.meters[i].uses), month})
	}
}

// sweep forgets meters that were not used for meterIdle.
func (m *meters) sweep() {
	before := time.Now().Add(-meterIdle).UnixNano()
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.Lock()
		for meter, c := range s.meters {
			if c.asked < before { // it would have been asked since
				delete(s.meters, meter)
			}
		}
		s.mu.Unlock()
	}
}
