package verify

import (
	"context"
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
	org   domain.OrgID
	event domain.CredentialsRefused
}

// maxAskers is how many askers have a summary of their own; the rest share one.
const maxAskers = 1000

func newUnknownSecrets() *unknownSecrets {
	return &unknownSecrets{counts: map[string]*unknownCount{}}
}

// count counts one unknown secret that by asked about.
func (u *unknownSecrets) count(by domain.Principal, at time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	c := u.counts[by.ID]
	if c == nil && len(u.counts) >= maxAskers {
		by = domain.Principal{ID: "others", Org: domain.Installation}
		c = u.counts[by.ID]
	}
	if c == nil {
		c = &unknownCount{by.Org, domain.CredentialsRefused{Principal: by.ID, From: at}}
		u.counts[by.ID] = c
	}
	c.event.Count++
	c.event.To = at
}

// collect gives a summary for each asker, and begins to count anew.
func (u *unknownSecrets) collect(l UseLog) (all []refusalMessage) {
	u.mu.Lock()
	counts := u.counts
	u.counts = map[string]*unknownCount{}
	u.mu.Unlock()
	for _, c := range counts {
		m := &eventstore.Summary{Org: c.org, Event: c.event}
		all = append(all, refusalMessage{refusals: c.event.Count, append: func(ctx context.Context) error {
			_, err := l.AppendSummary(ctx, m)
			return err
		}})
	}
	return all
}
