package main

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/keytrail/keytrail/domain"
)

func TestAPopulationIsTheSameEachTimeAndItsKeysDiffer(t *testing.T) {
	p := population{Orgs: []domain.OrgID{domain.NewOrgID("a"), domain.NewOrgID("b")}, Begin: time.UnixMilli(1e12).UTC()}
	seen := map[domain.Digest]bool{}
	for i := range 2000 {
		first, err1 := json.Marshal(p.created(i))
		second, err2 := json.Marshal(p.created(i))
		if err1 != nil || err2 != nil || string(first) != string(second) {
			t.Fatalf("key %d is %s and %s", i, first, second)
		}
		secret := secretOf(i)
		if len(secret.Reveal()) != secretLength || !defaultShape.Matches(secret.Reveal()) {
			t.Fatalf("the secret of key %d is not one of its keyspace", i)
		}
		if digest := p.created(i).Digest; digest != secret.Digest() || seen[digest] {
			t.Fatalf("the digest of key %d is not its own", i)
		} else {
			seen[digest] = true
		}
	}
}
