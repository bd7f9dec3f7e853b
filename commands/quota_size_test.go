package commands_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// A bound that comes after thousands of keys does not make the first place an event that the ledger refuses.
func TestTheFirstPlaceAfterManyKeysFitsIntoAnEvent(t *testing.T) {
	org, owner := domain.NewOrgID("acme"), ""
	c := domain.ReserveKey{QuotaLimit: domain.QuotaLimit{QuotaOf: domain.QuotaOf{Keyspace: "a-keyspace", Owner: &owner}, Limit: 10_000}, Key: domain.NewKeyID("", "new"), At: time.Now(), By: domain.System}
	for i := range c.Limit - 1 {
		c.Existing = append(c.Existing, domain.NewKeyID("", fmt.Sprint(i)))
	}
	event, err := domain.Quota{}.Reserve(c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := eventstore.Message(eventstore.QuotaRef(org, c.QuotaOf), 0, eventstore.Command{ID: "c", Actor: domain.System.ID}, event); err != nil {
		t.Error(err)
	}
	c.Existing = append(c.Existing, domain.NewKeyID("", "last"))
	if _, err := (domain.Quota{}).Reserve(c); err == nil {
		t.Error("there are as many keys as there may be, and one more gets a place")
	}
}
