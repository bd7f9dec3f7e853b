package projections_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
	"github.com/keytrail/keytrail/projections"
)

// What is read at once may be more than Badger takes in a transaction.
func TestABatchMayBeLargerThanATransaction(t *testing.T) {
	l := eventstoretest.New(t)
	h := newHistory(t, l)
	incremental, _ := run(t, t.TempDir(), l)
	const keys = 150
	for n := range keys {
		k := &projections.KeyRow{}
		k.ID, k.Org = domain.NewKeyID("", fmt.Sprint("large", n)), h.orgs[0]
		h.append(k, domain.KeyCreated{ID: k.ID, Org: k.Org, Keyspace: "default", Digest: domain.NewSecret(fmt.Sprint("large", n)).Digest(),
			Settings: domain.Settings{Name: "n", Metadata: map[string]string{"large": strings.Repeat("x", 30_000)}}, Header: domain.Header{At: noon}})
		catchUp(t, incremental, l)
	}
	fresh, _ := run(t, t.TempDir(), l)
	same(t, "one by one and at once", dump(t, incremental), dump(t, fresh))
}
