package projections_test

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
	"github.com/keytrail/keytrail/projections"
)

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// run opens a store on dir and keeps it up to date until stop.
func run(t *testing.T, dir string, l *eventstore.Ledger) (s *projections.Store, stop func()) {
	t.Helper()
	s, err := projections.Open(dir, projections.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx, l) }()
	var once bool
	stop = func() {
		if once {
			return
		}
		once = true
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	catchUp(t, s, l)
	return s, stop
}

func catchUp(t *testing.T, s *projections.Store, l *eventstore.Ledger) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for stream, wait := range map[eventstore.Stream]func(context.Context, eventstore.Position) error{
		eventstore.Events: s.WaitFor, eventstore.Uses: s.WaitForUses} {
		end, err := l.End(ctx, stream)
		if err != nil {
			t.Fatal(err)
		}
		if err := wait(ctx, end); err != nil {
			t.Fatalf("%s do not reach %d: %v", stream, end, err)
		}
	}
}

// dump is all rows of s in a comparable form.
func dump(t *testing.T, s *projections.Store) map[string]string {
	t.Helper()
	all := map[string]string{}
	if err := s.Dump(func(name string, key, value []byte) error {
		all[fmt.Sprintf("%s %x", name, key)] = fmt.Sprintf("%x", value)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

func same(t *testing.T, what string, a, b map[string]string) {
	t.Helper()
	for k := range a {
		if a[k] != b[k] {
			t.Errorf("%s: row %s is %s and %s", what, k, a[k], b[k])
		}
	}
	if len(a) != len(b) {
		t.Errorf("%s: %d rows and %d", what, len(a), len(b))
	}
}

// A history writes random events of random keys and remembers what should be listed.
type history struct {
	t      *testing.T
	rand   *rand.Rand
	ledger *eventstore.Ledger
	orgs   []domain.OrgID
	keys   map[domain.KeyID]*projections.KeyRow
	ids    []domain.KeyID
	tick   time.Duration
	used   time.Duration
}

func newHistory(t *testing.T, l *eventstore.Ledger) *history {
	h := &history{t: t, rand: rand.New(rand.NewPCG(1, 2)), ledger: l, keys: map[domain.KeyID]*projections.KeyRow{}}
	for i := range 120 {
		name := fmt.Sprint("org", i)
		o := domain.OrganizationCreated{ID: domain.NewOrgID(name), Name: name, Header: domain.Header{At: noon, By: "system"}}
		if _, err := l.Append(t.Context(), eventstore.OrganizationRef(o.ID), 0, eventstore.Command{}, o); err != nil {
			t.Fatal(err)
		}
		h.orgs = append(h.orgs, o.ID)
	}
	return h
}

func (h *history) now() time.Time {
	h.tick += time.Duration(h.rand.IntN(3)) * time.Second // equal times are part of it
	return noon.Add(h.tick)
}

func (h *history) append(k *projections.KeyRow, e domain.Event) {
	p, err := h.ledger.Append(h.t.Context(), eventstore.KeyRef(k.Org, k.ID), k.Revision, eventstore.Command{}, e)
	if err != nil {
		h.t.Fatal(err)
	}
	k.Apply(e)
	k.Revision = p
}

func (h *history) create() {
	n := len(h.ids)
	id := domain.NewKeyID("", fmt.Sprint(n))
	k := &projections.KeyRow{}
	k.ID, k.Org = id, h.orgs[h.rand.IntN(2)]
	if h.rand.IntN(3) == 0 {
		k.Org = h.orgs[h.rand.IntN(len(h.orgs))]
	}
	e := domain.KeyCreated{ID: id, Org: k.Org, Keyspace: domain.KeyspaceNames()[h.rand.IntN(2)],
		Settings: domain.Settings{Name: fmt.Sprintf("%c%d", 'a'+h.rand.IntN(5), h.rand.IntN(40)), Owner: fmt.Sprint("owner", h.rand.IntN(6)), Scopes: []string{fmt.Sprintf("r%d:read", h.rand.IntN(4))}}, Digest: domain.NewSecret(fmt.Sprint(n)).Digest(),
		Prefix: fmt.Sprintf("kt_live_%04d", h.rand.IntN(50)), Header: domain.Header{At: h.now(), By: "system"}}
	if h.rand.IntN(3) == 0 {
		e.ExpiresAt = noon.Add(time.Duration(h.rand.IntN(4000)) * time.Second)
	}
	h.append(k, e)
	h.keys[id], h.ids = k, append(h.ids, id)
}

func (h *history) change() {
	k := h.keys[h.ids[h.rand.IntN(len(h.ids))]]
	at := h.now()
	switch h.rand.IntN(7) {
	case 0:
		if k.State != domain.Revoked {
			h.append(k, domain.KeyRevoked{Reason: domain.Unspecified, Header: domain.Header{At: at}})
		}
	case 1:
		if k.State == domain.Active {
			h.append(k, domain.KeyDisabled{Header: domain.Header{At: at}})
		}
	case 2:
		if k.State == domain.Disabled {
			h.append(k, domain.KeyEnabled{Header: domain.Header{At: at}})
		}
	case 3:
		name, scopes := fmt.Sprintf("%c%d", 'a'+h.rand.IntN(5), h.rand.IntN(40)), []string{"r9:read", "r1:read"}
		h.append(k, domain.KeyUpdated{Changes: domain.Changes{Name: &name, Scopes: &scopes}, Header: domain.Header{At: at}})
	case 4:
		h.append(k, domain.KeyRotated{Digest: domain.NewSecret(fmt.Sprint(at, h.rand.Int())).Digest(), Prefix: "kt_live_new0", OldValidUntil: at, Header: domain.Header{At: at}})
	case 5:
		if k.State == domain.Active && !k.ExpiresAt.IsZero() {
			h.append(k, domain.KeyExpired{ExpiresAt: k.ExpiresAt, Header: domain.Header{At: at}})
		}
	case 6:
		c := domain.Changes{ExpiresAt: new(time.Time)}
		if k.ExpiresAt.IsZero() {
			later := noon.Add(time.Duration(h.rand.IntN(4000)) * time.Second)
			c = domain.Changes{ExpiresAt: &later}
		}
		h.append(k, domain.KeyUpdated{Changes: c, Header: domain.Header{At: at}})
	}
}

// use writes uses as nodes do: a few to a message, about in the order of their times.
func (h *history) use(n int) {
	for range n {
		batches := map[domain.OrgID]*eventstore.UseBatch{}
		for range 3 {
			k := h.keys[h.ids[h.rand.IntN(len(h.ids)/2)]]
			h.used += time.Duration(h.rand.IntN(120)) * time.Second
			at := noon.Add(h.used - time.Duration(h.rand.IntN(300))*time.Second)
			u := domain.KeyUsed{Key: k.ID, Code: domain.UseValid, At: at, Windows: []int64{60000}}
			if batches[k.Org] == nil {
				batches[k.Org] = &eventstore.UseBatch{}
			}
			if batches[k.Org].Add(&u) && at.After(k.LastUsedAt) {
				k.LastUsedAt = at
			}
		}
		for org, b := range batches {
			if _, err := h.ledger.AppendUses(h.t.Context(), org, b); err != nil {
				h.t.Fatal(err)
			}
		}
	}
}

func TestRowsFollowFromTheLedgerAlone(t *testing.T) {
	l := eventstoretest.New(t)
	h := newHistory(t, l)
	dir := t.TempDir()
	s, stop := run(t, dir, l)
	for range 150 {
		h.create()
	}
	for range 200 {
		h.change()
		if h.rand.IntN(40) == 0 {
			h.use(7)
			stop() // and go on from the position
			s, stop = run(t, dir, l)
		}
	}
	h.use(100)
	catchUp(t, s, l)
	incremental := dump(t, s)
	if len(incremental) < 1000 {
		t.Fatalf("only %d rows", len(incremental))
	}
	fresh, _ := run(t, t.TempDir(), l)
	same(t, "incremental and fresh", incremental, dump(t, fresh))
	for _, name := range []string{"keys", "organizations", "requests", "usage"} {
		rebuilt(t, s, name)
	}
	same(t, "before and after a rebuild", incremental, dump(t, s))
	h.create()
	catchUp(t, s, l)
	stop()
	again, _ := run(t, dir, l)
	if _, err := again.Key(h.ids[len(h.ids)-1]); err != nil {
		t.Errorf("a key created after the rebuild: %v", err)
	}
}

func TestAnotherLedgerMakesItRebuild(t *testing.T) {
	dir := t.TempDir()
	first := eventstoretest.New(t)
	newHistory(t, first).create()
	_, stop := run(t, dir, first)
	stop()
	second := eventstoretest.New(t)
	h := newHistory(t, second)
	h.create()
	h.create()
	s, _ := run(t, dir, second)
	fresh, _ := run(t, t.TempDir(), second)
	same(t, "moved to another ledger and fresh", dump(t, s), dump(t, fresh))
}

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

func TestACredentialIsFoundWithinReach(t *testing.T) {
	l := eventstoretest.New(t)
	h := newHistory(t, l)
	d := domain.NewSecret("issued elsewhere").Digest()
	for i, org := range h.orgs {
		k := &projections.KeyRow{}
		k.ID, k.Org = domain.NewKeyID("", fmt.Sprint("import", i)), org
		h.append(k, domain.KeyCreated{ID: k.ID, Org: org, Keyspace: "default", Settings: domain.Settings{Name: "n", Scopes: []string{"a:read", "b:*"}, AllowedCIDRs: []string{"192.0.2.0/24"}, RateLimits: []domain.RateLimit{{Limit: 3, Window: domain.Duration(time.Minute)}}, ExpiresAt: noon}, Digest: d, Header: domain.Header{At: noon}, Imported: true})
		h.keys[k.ID] = k
	}
	s, _ := run(t, t.TempDir(), l)
	var c projections.Credential
	for reach, want := range map[domain.Reach]domain.KeyID{domain.Only(h.orgs[0]): domain.NewKeyID("", "import0"), domain.Only(h.orgs[1]): domain.NewKeyID("", "import1"),
		domain.All: domain.NewKeyID("", "import0")} {
		if found, err := s.Credential(&d, reach, &c); err != nil || !found || c.Key != want {
			t.Fatalf("%+v finds %+v, %v; want %s", reach, c, err, want)
		}
	}
	if !slices.Equal(c.Scopes, []string{"a:read", "b:*"}) || c.AllowedCIDRs[0].String() != "192.0.2.0/24" || c.RateLimits[0].Limit != 3 ||
		c.ExpiresAt != noon.UnixMilli() || c.State != domain.Active || c.Keyspace != "default" {
		t.Errorf("the credential came back as %+v", c)
	}
	if found, err := s.Credential(&d, domain.Only(domain.NewOrgID("nobody")), &c); found || err != nil {
		t.Errorf("another organization finds it: %+v, %v", c, err)
	}
}

func TestTheCacheIsFilledAtTheStart(t *testing.T) {
	l := eventstoretest.New(t)
	h := newHistory(t, l)
	for range 1100 { // more than are read at once, and then again
		h.create()
	}
	s, _ := run(t, t.TempDir(), l)
	s.Warm(t.Context(), l)
	var c projections.Credential
	for id, k := range h.keys {
		d := k.Secrets[0].Digest
		if !s.Cached(d) {
			t.Fatalf("%s is not cached", id)
		}
		if found, err := s.Credential(&d, domain.Only(k.Org), &c); err != nil || !found || c.Key != id || c.Name != k.Name || c.Owner != k.Owner || c.Metadata != "{}" {
			t.Fatalf("%s is %+v, %v", id, c, err)
		}
	}
}

// Whoever waits for an event finds the key as that event left it, however many look it up
// all the time.
func TestALookUpIsNeverOlderThanThePosition(t *testing.T) {
	l := eventstoretest.New(t)
	h := newHistory(t, l)
	d := domain.NewSecret("much used").Digest()
	k := &projections.KeyRow{}
	k.ID, k.Org = domain.NewKeyID("", "much used"), h.orgs[0]
	h.append(k, domain.KeyCreated{ID: k.ID, Org: k.Org, Keyspace: "default", Settings: domain.Settings{Name: "n"}, Digest: d, Header: domain.Header{At: noon}})
	s, _ := run(t, t.TempDir(), l)

	done := make(chan struct{})
	var lookups sync.WaitGroup
	defer lookups.Wait()
	defer close(done)
	for range 4 {
		lookups.Go(func() {
			var c projections.Credential
			for {
				select {
				case <-done:
					return
				default:
					_, _ = s.Credential(&d, domain.Only(k.Org), &c)
				}
			}
		})
	}
	for i := range 200 {
		want := domain.Disabled
		var e domain.Event = domain.KeyDisabled{Header: domain.Header{At: noon}}
		if i%2 == 1 {
			want, e = domain.Active, domain.KeyEnabled{Header: domain.Header{At: noon}}
		}
		h.append(k, e)
		if err := s.WaitFor(t.Context(), k.Revision); err != nil {
			t.Fatal(err)
		}
		var c projections.Credential
		if found, err := s.Credential(&d, domain.Only(k.Org), &c); err != nil || !found || c.State != want {
			t.Fatalf("after event %d the key is %+v, %v; want %s", i, c, err, want)
		}
		if i%50 == 49 {
			rebuilt(t, s, "keys")
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
