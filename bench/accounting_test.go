package main

import (
	"maps"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

func TestUsesAreTalliedForTheOneWhoAsked(t *testing.T) {
	dir := t.TempDir()
	const verifier = "key_verifier"
	org := domain.NewOrgID("a")
	err := withLedger(t.Context(), dir, func(_ *nats.Conn, l *eventstore.Ledger) error {
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
			b.Add(org, &u, 1)
		}
		b.AddRefused(org, &domain.CredentialsRefused{Principal: verifier, Count: 3}, 1)
		_, err := l.AppendUses(t.Context(), &b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := recorded(t.Context(), dir, verifier)
	if err != nil {
		t.Fatal(err)
	}
	if want := (outcomeCounts{"VALID": 2, "REVOKED": 2, "NOT_FOUND": 3}); !maps.Equal(got, want) {
		t.Errorf("recorded %v, want %v", got, want)
	}
}
