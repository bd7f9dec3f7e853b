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

// refusalSums add up repeated refusals of known keys where the presented key is the only
// credential. The first ones of each key, outcome and minute are recorded one by one; further
// ones become one use with a count, a sum, so that a flood of them does not fill the ledger.
type refusalSums struct {
	maxRecorded int // one by one, of each key, outcome and minute
	summed      prometheus.Counter

	mu   sync.Mutex
	keys map[refusedKey]*refusedUses
}

type refusedKey struct {
	key     domain.KeyID
	outcome domain.Outcome
}

// refusedUses are the refusals of one key with one outcome.
type refusedUses struct {
	org      domain.OrgID
	minute   int64          // of the last one
	recorded int            // one by one in that minute
	sum      domain.KeyUsed // of those that are not recorded; its Count is 0 if there are none
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

func newRefusalSums(recorded int) *refusalSums {
	return &refusalSums{maxRecorded: recorded, keys: map[refusedKey]*refusedUses{},
		summed: prometheus.NewCounter(prometheus.CounterOpts{Name: "keytrail_refusals_summed_total", Help: "Refusals of known keys that were added to a sum instead of recorded one by one."})}
}

// add adds u to a sum, unless it is to be recorded: then summed is false.
func (r *refusalSums) add(org domain.OrgID, u *domain.KeyUsed) (summed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.keys[refusedKey{u.Key, u.Code}]
	if k == nil {
		if len(r.keys) >= maxRefusedKeys {
			return false
		}
		// Copies: the ids are parts of a credential's row, which the map would keep.
		k = &refusedUses{org: domain.OrgID(strings.Clone(string(org)))}
		r.keys[refusedKey{domain.KeyID(strings.Clone(string(u.Key))), u.Code}] = k
	}
	if minute := minuteOf(u.At); k.minute != minute {
		k.minute, k.recorded = minute, 0
	}
	if k.recorded < r.maxRecorded {
		k.recorded++
		return false
	}
	k.add(u)
	r.summed.Inc()
	return true
}

// add adds u to the sum, which does not say what was asked for each time.
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

// A refusalBatch is the sums of one organization that go into one message.
type refusalBatch struct {
	uses     eventstore.UseBatch
	refusals int64
}

func (b *refusalBatch) message(l UseLog, org domain.OrgID) refusalMessage {
	return refusalMessage{refusals: b.refusals, append: func(ctx context.Context) error {
		_, err := l.AppendUses(ctx, org, &b.uses)
		return err
	}}
}

// collect gives the sums, in one message or more for each organization, and begins new ones.
// minute is the present one: keys without a refusal in it are forgotten.
func (r *refusalSums) collect(l UseLog, minute int64) (all []refusalMessage) {
	r.mu.Lock()
	defer r.mu.Unlock()
	batches := map[domain.OrgID]*refusalBatch{}
	for key, k := range r.keys {
		if k.sum.Count > 0 {
			b := batches[k.org]
			if b != nil && !b.uses.Add(&k.sum) {
				all = append(all, b.message(l, k.org))
				b = nil
			}
			if b == nil {
				b = &refusalBatch{}
				batches[k.org] = b
				b.uses.Add(&k.sum)
			}
			b.refusals += k.sum.Count
			k.sum = domain.KeyUsed{}
		}
		if k.minute != minute {
			delete(r.keys, key)
		}
	}
	for org, b := range batches {
		all = append(all, b.message(l, org))
	}
	return all
}
