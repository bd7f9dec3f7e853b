package verify

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// refusals sums up the repeated refusals of known keys where the presented key is the only
// credential: a flood of them stays a trickle on the ledger. The first ones of each key,
// outcome and minute are recorded one by one; those beyond become one use with a count.
type refusals struct {
	recorded int // one by one, of each key, outcome and minute
	summed   prometheus.Counter

	mu   sync.Mutex
	keys map[refusedKey]*refusedUses
}

type refusedKey struct {
	key     domain.KeyID
	outcome domain.Outcome
}

type refusedUses struct {
	org      domain.OrgID
	minute   int64 // of the last one
	recorded int   // in that minute
	sum      domain.KeyUsed
}

const (
	// defaultRefusalsRecorded lets a client that repeats once a second be recorded in full.
	defaultRefusalsRecorded = 60

	// maxAddresses is how many different addresses a sum names.
	maxAddresses = 8
)

// maxRefusedKeys bounds the memory for sums to some 30 MB. Refusals of further keys are
// recorded one by one: a flood of so many known keys costs the ledger, never the trail.
var maxRefusedKeys = 64 << 10

// minuteOf counts minutes since the Unix epoch.
func minuteOf(t time.Time) int64 { return t.Unix() / 60 }

func newRefusals(recorded int) *refusals {
	return &refusals{recorded: recorded, keys: map[refusedKey]*refusedUses{},
		summed: prometheus.NewCounter(prometheus.CounterOpts{Name: "keytrail_refusals_summed_total", Help: "Refusals of known keys that were added to a sum instead of recorded one by one."})}
}

// add tells whether u was added to a sum; if not, it is to be recorded.
func (r *refusals) add(org domain.OrgID, u *domain.KeyUsed) (summed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.keys[refusedKey{u.Key, u.Code}]
	if k == nil {
		if len(r.keys) >= maxRefusedKeys {
			return false
		}
		k = &refusedUses{org: domain.OrgID(strings.Clone(string(org)))}
		r.keys[refusedKey{domain.KeyID(strings.Clone(string(u.Key))), u.Code}] = k
	}
	if minute := minuteOf(u.At); k.minute != minute {
		k.minute, k.recorded = minute, 0
	}
	if k.recorded < r.recorded {
		k.recorded++
		return false
	}
	k.add(u)
	r.summed.Inc()
	return true
}

// add counts u. A sum does not say what was asked for each time.
func (k *refusedUses) add(u *domain.KeyUsed) {
	s := &k.sum
	if s.Count == 0 {
		*s = domain.KeyUsed{Key: u.Key, Code: u.Code, Principal: u.Principal, First: u.At}
	}
	s.Count++
	s.At = u.At
	if u.IP != "" && len(s.Addresses) < maxAddresses && !slices.Contains(s.Addresses, u.IP) {
		s.Addresses = append(s.Addresses, u.IP)
	}
}

// collect gives the sums, in one message or more for each organization, and begins them
// anew. minute is the present one: keys without a refusal in it are forgotten.
func (r *refusals) collect(l UseLog, minute int64) (all []summary) {
	batches := map[domain.OrgID]*eventstore.UseBatch{}
	counts := map[domain.OrgID]int64{}
	cut := func(org domain.OrgID) {
		b := batches[org]
		all = append(all, summary{refusals: counts[org], append: func(ctx context.Context) error {
			_, err := l.AppendUses(ctx, org, b)
			return err
		}})
		delete(batches, org)
		delete(counts, org)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, k := range r.keys {
		if k.sum.Count > 0 {
			if b := batches[k.org]; b == nil || !b.Add(&k.sum) {
				if b != nil {
					cut(k.org)
				}
				batches[k.org] = new(eventstore.UseBatch)
				batches[k.org].Add(&k.sum)
			}
			counts[k.org] += k.sum.Count
			k.sum = domain.KeyUsed{}
		}
		if k.minute != minute {
			delete(r.keys, key)
		}
	}
	for org := range batches {
		cut(org)
	}
	return all
}
