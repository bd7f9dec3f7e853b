package verify

import (
	"sync"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// unknownSecrets counts presented secrets that belong to no key within the asker's reach. A
// summary for each asker goes to the ledger every refusalsEvery, however many they are.
type unknownSecrets struct {
	mu     sync.Mutex
	counts map[string]*unknownCount // by the asker's principal id
}

type unknownCount struct {
	org     domain.OrgID
	event   domain.CredentialsRefused
	decided eventstore.Position // of the last one
}

// maxAskers is how many askers have a summary of their own; the rest share one.
const maxAskers = 1000

func newUnknownSecrets() *unknownSecrets {
	return &unknownSecrets{counts: map[string]*unknownCount{}}
}

// count counts one unknown secret that by asked about.
func (u *unknownSecrets) count(by domain.Principal, at time.Time, decided eventstore.Position) {
	u.mu.Lock()
	defer u.mu.Unlock()
	c := u.counts[by.ID]
	if c == nil && len(u.counts) >= maxAskers {
		by = domain.Principal{ID: "others", Org: domain.Installation}
		c = u.counts[by.ID]
	}
	if c == nil {
		c = &unknownCount{org: by.Org, event: domain.CredentialsRefused{Principal: by.ID, From: at}}
		u.counts[by.ID] = c
	}
	c.event.Count++
	c.event.To, c.decided = at, decided
}

// collect adds a summary for each asker to all, and begins to count anew.
func (u *unknownSecrets) collect(all *refusalBatches) {
	u.mu.Lock()
	counts := u.counts
	u.counts = map[string]*unknownCount{}
	u.mu.Unlock()
	for _, c := range counts {
		all.add(c.event.Count, func(b *eventstore.UseBatch) bool { return b.AddRefused(c.org, &c.event, c.decided) })
	}
}
