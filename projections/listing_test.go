package projections_test

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
	"github.com/keytrail/keytrail/projections"
)

// TestListingAgreesWithAPlainModel compares every filter, sort and direction, page by page.
func TestListingAgreesWithAPlainModel(t *testing.T) {
	l := eventstoretest.New(t)
	h := newHistory(t, l)
	for range 300 {
		h.create()
	}
	for range 200 {
		h.change()
	}
	h.use(100)
	s, _ := run(t, t.TempDir(), l)
	now, past := noon.Add(2000*time.Second), time.Date(1960, 1, 1, 0, 0, 0, 0, time.UTC)
	all := projections.KeyQuery{Reach: domain.All, Now: now}
	queries := map[string]func(*projections.KeyQuery){
		"all":                                  func(*projections.KeyQuery) {},
		"org":                                  func(q *projections.KeyQuery) { q.Reach = domain.Only(h.orgs[0]) },
		"keyspace":                             func(q *projections.KeyQuery) { q.Keyspace = "default" },
		"active":                               func(q *projections.KeyQuery) { q.Status = domain.Active },
		"disabled":                             func(q *projections.KeyQuery) { q.Status = domain.Disabled },
		"expired":                              func(q *projections.KeyQuery) { q.Status = domain.Expired },
		"revoked":                              func(q *projections.KeyQuery) { q.Status = domain.Revoked },
		"owner":                                func(q *projections.KeyQuery) { q.Owner = "owner3" },
		"scope":                                func(q *projections.KeyQuery) { q.Scope = "r1:read" },
		"name":                                 func(q *projections.KeyQuery) { q.Name = "b1" },
		"prefix":                               func(q *projections.KeyQuery) { q.Prefix = "kt_live_001" },
		"created":                              func(q *projections.KeyQuery) { q.CreatedAfter = noon.Add(100 * time.Second) },
		"created, unused, expires before 1970": func(q *projections.KeyQuery) { q.CreatedAfter, q.LastUsedBefore, q.ExpiresBefore = past, past, past },
		"created after 1960":                   func(q *projections.KeyQuery) { q.CreatedAfter = past },
		"expired before":                       func(q *projections.KeyQuery) { q.Status, q.ExpiresBefore = domain.Expired, noon.Add(1000*time.Second) },
		"expires later":                        func(q *projections.KeyQuery) { q.Status, q.ExpiresBefore = domain.Active, noon.Add(3000*time.Second) },
		"unused":                               func(q *projections.KeyQuery) { q.LastUsedBefore = noon.Add(3 * time.Hour) },
		"expires":                              func(q *projections.KeyQuery) { q.ExpiresBefore = noon.Add(1000 * time.Second) },
		"owner, name":                          func(q *projections.KeyQuery) { q.Owner, q.Name, q.Status = "owner1", "a", domain.Active },
		"expired of an org, by owner": func(q *projections.KeyQuery) {
			q.Reach, q.Owner, q.Status = domain.Only(h.orgs[1]), "owner2", domain.Expired
		},
	}
	for name, set := range queries {
		for _, sort := range projections.SortKeys {
			for _, direction := range []string{"", "-"} {
				q := all
				q.Sort = direction + sort
				set(&q)
				for _, gathered := range []int{1000, 0} {
					projections.SetMaxGathered(t, gathered)
					got, want := h.pages(s, q, 1+h.rand.IntN(40)), h.model(q)
					if !slices.Equal(got, want) {
						t.Fatalf("%s by %s, gathering %d: %d keys %v\nwant %d %v", name, q.Sort, gathered, len(got), got, len(want), want)
					}
				}
			}
		}
	}
}

func (h *history) pages(s *projections.Store, q projections.KeyQuery, limit int) (ids []domain.KeyID) {
	q.Limit = limit
	for range 10_000 {
		page, err := s.Keys(q)
		if err != nil {
			h.t.Fatal(err)
		}
		for _, k := range page.Keys {
			ids = append(ids, k.ID)
			if want := h.keys[k.ID]; !k.LastUsedAt.Equal(want.LastUsedAt) || k.Revision != want.Revision || k.Name != want.Name {
				h.t.Fatalf("row %+v, want %+v", k, want)
			}
		}
		if q.Cursor = page.NextCursor; q.Cursor == "" {
			return ids
		}
	}
	h.t.Fatal("the pages do not end")
	return nil
}

// model lists as the query says, from all keys, by comparing them.
func (h *history) model(q projections.KeyQuery) (ids []domain.KeyID) {
	var found []*projections.KeyRow
	for _, k := range h.keys {
		if q.Reach.Includes(k.Org) && (q.Keyspace == "" || q.Keyspace == k.Keyspace) &&
			(q.Status == domain.Absent || k.StateAt(q.Now) == q.Status) && (q.Owner == "" || k.Owner == q.Owner) &&
			(q.Scope == "" || slices.Contains(k.Scopes, q.Scope)) && strings.HasPrefix(k.Name, q.Name) &&
			slices.ContainsFunc(k.Secrets, func(s domain.KeySecret) bool { return strings.HasPrefix(s.Prefix, q.Prefix) }) &&
			(q.CreatedAfter.IsZero() || k.CreatedAt.After(q.CreatedAfter)) &&
			(q.LastUsedBefore.IsZero() || !k.LastUsedAt.IsZero() && k.LastUsedAt.Before(q.LastUsedBefore)) &&
			(q.ExpiresBefore.IsZero() || !k.ExpiresAt.IsZero() && k.ExpiresAt.Before(q.ExpiresBefore)) {
			found = append(found, k)
		}
	}
	slices.SortFunc(found, func(a, b *projections.KeyRow) int {
		if strings.HasPrefix(q.Sort, "-") {
			a, b = b, a
		}
		x, y := a.ID.Bytes(), b.ID.Bytes()
		byID := bytes.Compare(x[:], y[:])
		byCreation := cmp.Or(a.CreatedAt.Compare(b.CreatedAt), byID)
		switch strings.TrimPrefix(q.Sort, "-") {
		case "name":
			return cmp.Or(cmp.Compare(a.Name, b.Name), byID)
		case "expires_at":
			return nullsLast(a.ExpiresAt, b.ExpiresAt, strings.HasPrefix(q.Sort, "-"), byID, byCreation)
		case "last_used_at":
			return nullsLast(a.LastUsedAt, b.LastUsedAt, strings.HasPrefix(q.Sort, "-"), byID, byCreation)
		}
		return byCreation
	})
	for _, k := range found {
		ids = append(ids, k.ID)
	}
	return ids
}

// nullsLast compares a and b, which change places in a descending sort.
func nullsLast(a, b time.Time, swapped bool, byID, byCreation int) int {
	switch {
	case a.IsZero() && b.IsZero():
		return byCreation
	case a.IsZero() != b.IsZero():
		if a.IsZero() != swapped {
			return 1
		}
		return -1
	}
	return cmp.Or(a.Compare(b), byID)
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

func FuzzCursor(f *testing.F) {
	f.Add("")
	f.Add("eyJ2IjoxfQ")
	s, err := projections.Open(f.TempDir(), projections.Options{})
	if err != nil {
		f.Fatal(err)
	}
	defer s.Close()
	f.Fuzz(func(t *testing.T, cursor string) {
		_, _ = s.Keys(projections.KeyQuery{Reach: domain.Only(domain.Installation), Sort: "name", Limit: 1, Cursor: cursor})
	})
}
