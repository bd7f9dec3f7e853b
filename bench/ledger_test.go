package main

import (
	"context"
	"testing"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

func TestAFilledLedgerHoldsEachKeyOnce(t *testing.T) {
	dir := t.TempDir()
	p := population{Orgs: []domain.OrgID{domain.NewOrgID("a"), domain.NewOrgID("b")}, Begin: time.UnixMilli(1e12).UTC()}
	if _, err := fill(t.Context(), dir, p, 500); err != nil {
		t.Fatal(err)
	}
	found := map[domain.KeyID]int{}
	err := withLedger(t.Context(), dir, func(l *eventstore.Ledger) error {
		return l.Read(context.Background(), eventstore.Query{Reach: domain.All, Stream: eventstore.Events}, func(b eventstore.Batch) error {
			for _, r := range b.Records {
				e := r.Event.(domain.KeyCreated)
				if string(e.ID) != r.Subject || e.Org != r.Org {
					t.Errorf("event %s is of key %s in %s", r.Identity(), e.ID, e.Org)
				}
				found[e.ID]++
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

func TestUsesAreTalliedForTheOneWhoAsked(t *testing.T) {
	dir := t.TempDir()
	const verifier = "key_verifier"
	org := domain.NewOrgID("a")
	err := withLedger(t.Context(), dir, func(l *eventstore.Ledger) error {
		var b eventstore.UseBatch
		for _, u := range []domain.KeyUsed{
			{Key: keyOf(0), Code: domain.UseValid, Principal: verifier},
			{Key: keyOf(1), Code: domain.UseValid, Principal: verifier},
			{Key: keyOf(1), Code: domain.UseRevoked, Principal: verifier},
			{Key: keyOf(1), Code: domain.UseValid, Principal: "key_other"},
			{Key: keyOf(2), Code: domain.UseValid, Principal: verifier, RequestID: "again"},
			{Key: keyOf(2), Code: domain.UseRevoked, Principal: verifier, RequestID: "again"},
			{Key: verifier, Code: domain.UseValid, Principal: verifier},
		} {
			u.At = time.UnixMilli(1e12).UTC()
			b.Add(&u)
		}
		if _, err := l.AppendUses(t.Context(), org, &b); err != nil {
			return err
		}
		_, err := l.AppendSummary(t.Context(), &eventstore.Summary{Org: org, Event: domain.CredentialsRefused{Principal: verifier, Count: 3}})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := recorded(t.Context(), dir, verifier)
	if err != nil {
		t.Fatal(err)
	}
	want := &tally{counts: map[string]int64{"VALID": 2, "REVOKED": 2, "NOT_FOUND": 3}}
	if d := want.differs(got); d != "" {
		t.Error(d)
	}
	want.add("VALID", 1)
	if want.differs(got) == "" {
		t.Error("a use that is missing is not noticed")
	}
}
