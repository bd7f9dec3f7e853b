package main

import (
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/keytrail/keytrail/api"
	"github.com/keytrail/keytrail/domain"
)

func TestEveryOutcomeIsAskedFor(t *testing.T) {
	var asked []domain.Outcome
	for _, c := range outcomeCases(10) {
		asked = append(asked, c.want...)
	}
	for _, code := range domain.Outcomes {
		if !slices.Contains(asked, code) {
			t.Errorf("no question is answered %s", code)
		}
	}
}

func TestAListingIsHeldAgainstItsQuestion(t *testing.T) {
	e := &env{plan: plan{keys: 10}, population: population{Orgs: []domain.OrgID{domain.NewOrgID("a")}, Begin: time.UnixMilli(1e12).UTC()}}
	k := e.population.shown(0)
	used, never := k, k
	used.LastUsedAt = api.Known(k.CreatedAt)
	for name, value := range map[string]string{
		"owner": "x", "scope": "x", "name": "x", "prefix": "x", "keyspace": "x", "status": "revoked", "org_id": "x",
		"created_after": stamp(&k.CreatedAt), "last_used_before": stamp(&k.CreatedAt), "expires_before": stamp(&k.CreatedAt),
	} {
		if matches(used, url.Values{name: {value}}) {
			t.Errorf("%+v matches %s=%s", used, name, value)
		}
	}
	if q := e.listQuery("owner, name, prefix, keyspace, status=active", 0); !matches(k, q) {
		t.Errorf("%+v does not match %v", k, q)
	}
	if !inOrder("last_used_at", used, never) || inOrder("last_used_at", never, used) || inOrder("-last_used_at", never, used) {
		t.Error("a key that was never used is not last")
	}
	later := e.population.shown(1)
	if !inOrder("created_at", k, later) || inOrder("created_at", later, k) || inOrder("-created_at", k, later) || !inOrder("", later, k) {
		t.Error("keys are not in the order of their creation")
	}
}
