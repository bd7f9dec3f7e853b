package main

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

func TestAFilledLedgerHoldsEachKeyOnce(t *testing.T) {
	e := &env{options: options{dir: t.TempDir()}, plan: plan{keys: 500}, result: &result{}}
	e.population = population{Orgs: []domain.OrgID{domain.NewOrgID("a"), domain.NewOrgID("b")}, Begin: time.UnixMilli(1e12).UTC()}
	if err := fill(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	found := map[domain.KeyID]int{}
	err := withLedger(t.Context(), e.ledger(), func(_ *nats.Conn, l *eventstore.Ledger) error {
		return l.Read(context.Background(), eventstore.Query{Reach: domain.All, Stream: eventstore.Events}, func(b eventstore.Batch) error {
			for _, r := range b.Records {
				created := r.Event.(domain.KeyCreated)
				if string(created.ID) != r.Subject || created.Org != r.Org {
					t.Errorf("event %s is of key %s in %s", r.Identity(), created.ID, created.Org)
				}
				found[created.ID]++
			}
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 500 {
		if found[keyOf(i)] != 1 {
			t.Errorf("key %d was written %d times", i, found[keyOf(i)])
		}
	}
}
