package verify

import (
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

	mu            sync.Mutex
	keys          map[refusedKey]*refusedUses
	resourceBytes int // of the resources in all sums
}

type refusedKey struct {
	key     domain.KeyID
	outcome domain.Outcome
}

// refusedUses are the refusals of one key with one outcome.
type refusedUses struct {
	org      domain.OrgID
	decided  eventstore.Position // of the last one
	minute   int64               // of the last one
	recorded int                 // one by one in that minute
	sum      domain.KeyUsed      // of those that are not recorded; its Count is 0 if there are none
}

const (
	// defaultRefusalsRecorded lets a client that repeats once a second be recorded in full.
	defaultRefusalsRecorded = 60

	// maxAddresses and maxResources are how many different ones a sum names.
	maxAddresses = 8
	maxResources = 8

	// maxResourceBytes bounds the memory for the resources of all sums, which clients choose.
	// What comes when it is reached is counted without its resource.
	maxResourceBytes = 8 << 20
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
func (r *refusalSums) add(u use) (summed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.keys[refusedKey{u.Key, u.Code}]
	if k == nil {
		if len(r.keys) >= maxRefusedKeys {
			return false
		}
		// Copies: the ids are parts of a credential's row, which the map would keep.
		k = &refusedUses{org: domain.OrgID(strings.Clone(string(u.org)))}
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
	if n := len(u.Resource); n > 0 && r.resourceBytes+n <= maxResourceBytes && addSome(&k.sum.Resources, u.Resource, maxResources) {
		r.resourceBytes += n
	}
	r.summed.Inc()
	return true
}

// addSome adds a text to a list that has at most so many different ones. The text is copied: it is
// a part of a request.
func addSome(list *[]string, text string, most int) (added bool) {
	if text == "" || len(*list) >= most || slices.Contains(*list, text) {
		return false
	}
	*list = append(*list, strings.Clone(text))
	return true
}

// add adds u to the sum, which does not say what was asked for each time.
func (k *refusedUses) add(u use) {
	s := &k.sum
	k.decided = u.decided
	if s.Count == 0 {
		*s = domain.KeyUsed{Key: u.Key, Code: u.Code, Principal: u.Principal, First: u.At}
	}
	s.Count++
	s.At = u.At
	addSome(&s.Addresses, u.IP, maxAddresses)
}

// collect adds the sums to all, and begins new ones. minute is the present one: keys without a
// refusal in it are forgotten.
func (r *refusalSums) collect(all *refusalBatches, minute int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.resourceBytes = 0
	for key, k := range r.keys {
		if k.sum.Count > 0 {
			all.add(k.sum.Count, func(b *eventstore.UseBatch) bool { return b.Add(k.org, &k.sum, k.decided) })
			k.sum = domain.KeyUsed{}
		}
		if k.minute != minute {
			delete(r.keys, key)
		}
	}
}
