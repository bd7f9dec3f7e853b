package projections_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
	"github.com/keytrail/keytrail/projections"
)

// listedOf is what is listed of keys of a past moment.
func listedOf(keys []projections.KeyRow) []projections.KeyRow {
	listed := slices.Clone(keys)
	for i := range listed {
		k := &listed[i]
		k.LastUsedAt, k.RecordedExpiry, k.NotedExpiry, k.NotedIdle = time.Time{}, time.Time{}, time.Time{}, time.Time{}
		k.Since, k.Leaks, k.TokenMinute, k.Tokens = 0, 0, 0, 0
	}
	return listed
}

// allPages lists q to its end.
func allPages(t *testing.T, s *projections.Store, q projections.KeyQuery) (all []projections.KeyRow) {
	t.Helper()
	for {
		page, err := s.Keys(q)
		if err != nil {
			t.Fatal(err)
		}
		if all = append(all, page.Keys...); page.NextCursor == "" {
			return listedOf(all)
		}
		q.Cursor = page.NextCursor
	}
}

// formerQueries are questions of all kinds that can be asked of a past moment.
func formerQueries(h *history, now time.Time) (all []projections.KeyQuery) {
	for _, reach := range []domain.Reach{domain.All, domain.Only(h.orgs[0]), domain.Only(h.orgs[1])} {
		for _, sort := range []string{"created_at", "-created_at", "name", "-name", "expires_at", "-expires_at"} {
			all = append(all, projections.KeyQuery{Reach: reach, Sort: sort, Now: now})
		}
		for _, q := range []projections.KeyQuery{{Status: domain.Active}, {Status: domain.Disabled}, {Status: domain.Expired}, {Status: domain.Revoked}, {Owner: "owner1"}, {Scope: "r1:read"},
			{Name: "a"}, {Prefix: "kt_live_new"}, {CreatedAfter: noon.Add(30 * time.Second)}, {ExpiresBefore: noon.Add(30 * time.Minute)}, {NeverRotated: true}, {Keyspace: "default", Sort: "name"}} {
			q.Reach, q.Now = reach, now
			all = append(all, q)
		}
	}
	return all
}

// TestAPastMomentIsListedAsItWas by each question, on rows that were applied, loaded and rebuilt.
func TestAPastMomentIsListedAsItWas(t *testing.T) {
	l := eventstoretest.New(t)
	h := newHistory(t, l)
	s, _ := run(t, t.TempDir(), l)
	type recorded struct {
		at   eventstore.Position
		q    projections.KeyQuery
		keys []projections.KeyRow
	}
	var all []recorded
	for i := range 120 {
		if i < 20 || h.rand.IntN(4) == 0 {
			h.create()
		} else {
			h.change()
		}
		catchUp(t, s, l)
		at := s.Position()
		for _, q := range formerQueries(h, noon.Add(h.tick)) {
			q.Limit = 1000
			if h.rand.IntN(8) == 0 {
				all = append(all, recorded{at, q, allPages(t, s, q)})
			}
		}
	}
	projections.SetMinLoaded(t, 1)
	projections.SetMaxSpillMemory(t, 2000)
	projections.SetMaxExamined(t, 7)
	loaded, _ := run(t, t.TempDir(), l)
	rebuilt(t, loaded, "keys")
	for _, r := range all {
		r.q.At, r.q.Limit = &r.at, 1+h.rand.IntN(20)
		for _, of := range []*projections.Store{s, loaded} {
			if got := allPages(t, of, r.q); len(got)+len(r.keys) > 0 && !reflect.DeepEqual(got, r.keys) {
				t.Fatalf("at %d %+v lists\n%+v, and then\n%+v", r.at, r.q, got, r.keys)
			}
		}
		for _, k := range r.keys {
			got, err := loaded.KeyAt(domain.Only(k.Org), k.ID, r.at)
			if err != nil || !reflect.DeepEqual(listedOf([]projections.KeyRow{got})[0], k) {
				t.Fatalf("at %d %s is %+v, %v, and was %+v", r.at, k.ID, got, err, k)
			}
		}
	}
	for _, id := range h.ids { // before it was created, and within another's reach
		k := h.keys[id]
		for reach, at := range map[domain.Reach]eventstore.Position{domain.All: 1, domain.Only(h.orgs[119]): s.Position()} {
			if k.Org == h.orgs[119] {
				continue
			}
			if _, err := s.KeyAt(reach, id, at); !errors.Is(err, domain.ErrKeyNotFound) {
				t.Errorf("%s is found at %d within %v: %v", id, at, reach, err)
			}
		}
	}
	beyond := s.Position() + 1
	if _, err := s.Keys(projections.KeyQuery{Reach: domain.All, Limit: 1, At: &beyond}); !errors.Is(err, domain.ErrReadModelBehind) {
		t.Errorf("what the read model has not read yet is listed: %v", err)
	}
}

// TestManyFormerKeysAreListedInTheOrderOfCreationAlone so that no page takes long.
func TestManyFormerKeysAreListedInTheOrderOfCreationAlone(t *testing.T) {
	l := eventstoretest.New(t)
	h := newHistory(t, l)
	for range 20 {
		h.create()
	}
	s, _ := run(t, t.TempDir(), l)
	projections.SetMaxSortedHistory(t, 19)
	at := s.Position()
	q := projections.KeyQuery{Reach: domain.All, Sort: "name", Now: noon, Limit: 5, At: &at}
	var refusal *domain.Error
	if _, err := s.Keys(q); !errors.As(err, &refusal) || refusal.Field != "sort" {
		t.Errorf("by name: %v", err)
	}
	if q.Sort = "-created_at"; len(allPages(t, s, q)) != 20 {
		t.Error("by creation there are not all")
	}
}

// BenchmarkKeyAt looks a key up as it was in the midst of 1, 1,000 and 100,000 events.
func BenchmarkKeyAt(b *testing.B) {
	for _, events := range []int{1, 1000, 100_000} {
		l := eventstoretest.New(b)
		org, id := domain.NewOrgID("acme"), domain.NewKeyID("", "k")
		end, err := l.Append(b.Context(), eventstore.KeyRef(org, id), 0, eventstore.Command{}, domain.KeyCreated{ID: id, Org: org, Keyspace: "default", Header: domain.Header{At: noon}})
		for range events - 1 {
			name := fmt.Sprint(rand.Int())
			if err == nil {
				end, err = l.Append(b.Context(), eventstore.KeyRef(org, id), end, eventstore.Command{}, domain.KeyUpdated{Changes: domain.Changes{Name: &name}, Header: domain.Header{At: noon}})
			}
		}
		if err != nil {
			b.Fatal(err)
		}
		s, stop := run(b, b.TempDir(), l)
		b.Run(fmt.Sprintf("%d events", events), func(b *testing.B) {
			for b.Loop() {
				if k, err := s.KeyAt(domain.All, id, end/2+1); err != nil || k.Revision != end/2+1 {
					b.Fatal(k.Revision, err)
				}
			}
		})
		stop()
	}
}
