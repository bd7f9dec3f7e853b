package projections_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
	"github.com/keytrail/keytrail/projections"
)

// What another organization has, and what was never made, is not overwritten: the
// projection stops, and its row stays as it was.
func TestAProjectionStopsAtTheRecordOfAnotherOrganization(t *testing.T) {
	other := domain.NewOrgID("intruder")
	id := domain.NewKeyID("", "theirs")
	used := func(t *testing.T, l *eventstore.Ledger, org domain.OrgID) {
		var b eventstore.UseBatch
		b.Add(&domain.KeyUsed{Key: id, Code: domain.UseValid, At: noon})
		if _, err := l.AppendUses(t.Context(), org, &b); err != nil {
			t.Fatal(err)
		}
	}
	event := func(ref eventstore.Ref, e domain.Event) func(*testing.T, *eventstore.Ledger) {
		return func(t *testing.T, l *eventstore.Ledger) {
			if _, err := l.Append(t.Context(), ref, 0, eventstore.Command{}, e); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		stream string
		write  func(*testing.T, *eventstore.Ledger)
	}{
		"created again": {"events", event(eventstore.KeyRef(other, id),
			domain.KeyCreated{ID: id, Org: other, Keyspace: "default", Settings: domain.Settings{Name: "mine"}, Digest: domain.NewSecret("mine").Digest(), Header: domain.Header{At: noon}})},
		"created for another": {"events", event(eventstore.KeyRef(other, domain.NewKeyID("", "new")),
			domain.KeyCreated{ID: domain.NewKeyID("", "new"), Org: domain.NewOrgID("org0"), Keyspace: "default", Settings: domain.Settings{Name: "mine"}, Header: domain.Header{At: noon}})},
		"revoked":       {"events", event(eventstore.KeyRef(other, id), domain.KeyRevoked{Reason: domain.Unspecified, Header: domain.Header{At: noon}})},
		"never created": {"events", event(eventstore.KeyRef(other, domain.NewKeyID("", "new")), domain.KeyDisabled{Header: domain.Header{At: noon}})},
		"organization":  {"events", event(eventstore.Ref{Org: other, Kind: "organization", ID: string(domain.NewOrgID("org0"))}, domain.OrganizationUpdated{Name: "mine", Header: domain.Header{At: noon}})},
		"used":          {"uses", func(t *testing.T, l *eventstore.Ledger) { used(t, l, other) }},
		"used in one message": {"uses", func(t *testing.T, l *eventstore.Ledger) {
			used(t, l, domain.NewOrgID("org0"))
			used(t, l, other)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			l := eventstoretest.New(t)
			h := newHistory(t, l)
			k := &projections.KeyRow{}
			k.ID, k.Org = id, h.orgs[0]
			h.append(k, domain.KeyCreated{ID: id, Org: k.Org, Keyspace: "default", Settings: domain.Settings{Name: "theirs"}, Digest: domain.NewSecret("theirs").Digest(), Header: domain.Header{At: noon}})
			used(t, l, k.Org)
			s, _ := run(t, t.TempDir(), l)
			before := dump(t, s)
			c.write(t, l)
			halted := func() bool {
				return slices.ContainsFunc(s.Status(), func(p projections.ProjectionStatus) bool { return p.Stream == c.stream && p.Halted != "" })
			}
			for begun := time.Now(); !halted(); {
				if time.Since(begun) > 10*time.Second {
					t.Fatal("it does not stop")
				}
			}
			if c.stream == "events" {
				same(t, "before and after it stopped", before, dump(t, s))
			}
			var row projections.Credential
			d := domain.NewSecret("theirs").Digest()
			if found, err := s.Credential(&d, domain.Only(k.Org), &row); err != nil || !found || row.Org != k.Org || row.State != domain.Active {
				t.Errorf("their key is %+v, %v, %v", row, found, err)
			}
		})
	}
}

// The expired keys of an organization are found however many of others wait for their
// expiry to be recorded, and its own in bounded pages.
func TestExpiredKeysAreFoundBehindABacklog(t *testing.T) {
	projections.SetMaxGathered(t, 10)
	projections.SetMaxExamined(t, 20)
	l := eventstoretest.New(t)
	h := newHistory(t, l)
	expiring := func(org domain.OrgID, n int, at time.Time) {
		k := &projections.KeyRow{}
		k.ID, k.Org = domain.NewKeyID(org, fmt.Sprint(n)), org
		h.append(k, domain.KeyCreated{ID: k.ID, Org: org, Keyspace: "default", Settings: domain.Settings{Name: fmt.Sprint("n", n), ExpiresAt: at}, Digest: domain.NewSecret(string(k.ID)).Digest(), Header: domain.Header{At: noon.Add(-time.Duration(n) * time.Second)}})
		h.keys[k.ID] = k
	}
	for n := range 100 {
		expiring(h.orgs[1], n, noon)
	}
	for n := range 300 {
		expiring(h.orgs[0], n, time.Time{})
	}
	expiring(h.orgs[0], 1000, noon.Add(time.Hour))
	s, _ := run(t, t.TempDir(), l)
	for _, reach := range []domain.Reach{domain.Only(h.orgs[0]), domain.Only(h.orgs[1]), domain.All} {
		for _, sort := range projections.SortKeys {
			for _, status := range []domain.State{domain.Expired, domain.Active} {
				q := projections.KeyQuery{Reach: reach, Status: status, Sort: sort, Now: noon.Add(2 * time.Hour)}
				if got, want := h.pages(s, q, 7), h.model(q); !slices.Equal(got, want) {
					t.Errorf("%s keys of %+v by %s: %d, want %d", status, reach, sort, len(got), len(want))
				}
			}
		}
	}
	page, err := s.Keys(projections.KeyQuery{Reach: domain.Only(h.orgs[0]), Status: domain.Expired, Sort: "-created_at", Limit: 7, Now: noon.Add(2 * time.Hour)})
	if err != nil || len(page.Keys) != 1 || page.NextCursor != "" {
		t.Errorf("the one that has expired among 301 is not on the first page: %+v, %v", page, err)
	}
}

// A listing of the installation does the work of a page, however many organizations it has.
func TestAPageOfManyOrganizationsIsOnePage(t *testing.T) {
	l := eventstoretest.New(t)
	h := newHistory(t, l)
	for i := range 2000 {
		k := &projections.KeyRow{}
		org := domain.NewOrgID(fmt.Sprint("many", i))
		k.ID, k.Org = domain.NewKeyID(org, "one"), org
		h.append(k, domain.KeyCreated{ID: k.ID, Org: org, Keyspace: "default", Settings: domain.Settings{Name: fmt.Sprint("n", i), Owner: fmt.Sprint("o", i%500)},
			Digest: domain.NewSecret(string(org)).Digest(), Prefix: fmt.Sprint("p", i), Header: domain.Header{At: noon.Add(time.Duration(i) * time.Second)}})
		h.keys[k.ID] = k
	}
	s, _ := run(t, t.TempDir(), l)
	for _, q := range []projections.KeyQuery{
		{Sort: "created_at"}, {Sort: "-name"}, {Sort: "expires_at"}, {Sort: "-last_used_at"}, {Sort: "name", Owner: "o7"}, {Sort: "name", Prefix: "p1999"},
	} {
		q.Reach, q.Now, q.Limit = domain.All, noon, 50
		want := h.model(q)
		page, err := s.Keys(q)
		if err != nil || len(page.Keys) != min(len(want), 50) {
			t.Fatalf("%+v: %d keys, %v", q, len(page.Keys), err)
		}
		for i, k := range page.Keys {
			if k.ID != want[i] {
				t.Fatalf("%+v: key %d is %s", q, i, k.ID)
			}
		}
	}
}

// A cancelled context is not the ledger's end.
func TestARebuildIsNotDoneBecauseItsTimeIsOver(t *testing.T) {
	l := eventstoretest.New(t)
	newHistory(t, l).create()
	s, _ := run(t, t.TempDir(), l)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.BeginRebuild(ctx, "keys"); err == nil {
		t.Error("it was")
	}
}
