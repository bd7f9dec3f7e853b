package projections_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/projections"
)

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// run opens a store on dir and keeps it up to date until stop.
func run(t testing.TB, dir string, l *eventstore.Ledger) (s *projections.Store, stop func()) {
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

func catchUp(t testing.TB, s *projections.Store, l *eventstore.Ledger) {
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
		all[name+" "+string(key)] = string(value)
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
			t.Errorf("%s: row %q is %x and %x", what, k, a[k], b[k])
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

	organizations map[domain.OrgID]standing
	owners        map[[2]string]standing // by organization and owner
	crowd         *crowd
}

func newHistory(t *testing.T, l *eventstore.Ledger) *history {
	h := &history{t: t, rand: rand.New(rand.NewPCG(1, 2)), ledger: l, keys: map[domain.KeyID]*projections.KeyRow{},
		organizations: map[domain.OrgID]standing{}, owners: map[[2]string]standing{}, crowd: newCrowd()}
	for i := range 120 {
		name := fmt.Sprint("org", i)
		o := domain.OrganizationCreated{ID: domain.NewOrgID(name), Name: name, Header: domain.Header{At: noon, By: "system"}}
		h.organizations[o.ID] = standing{revision: h.write(eventstore.OrganizationRef(o.ID), 0, o)}
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
	e := domain.KeyCreated{ID: id, Org: k.Org, Keyspace: domain.NewKeyspaces(nil).Names()[h.rand.IntN(2)],
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
	switch h.rand.IntN(8) {
	case 7:
		h.append(k, domain.TokenDerived{Header: domain.Header{At: at}})
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
		var b eventstore.UseBatch
		for range 3 {
			k := h.keys[h.ids[h.rand.IntN(len(h.ids)/2)]]
			h.used += time.Duration(h.rand.IntN(120)) * time.Second
			at := noon.Add(h.used - time.Duration(h.rand.IntN(300))*time.Second)
			u := domain.KeyUsed{Key: k.ID, Code: domain.UseValid, At: at, Windows: []int64{60000}}
			if b.Add(k.Org, &u, 0) && at.After(k.LastUsedAt) {
				k.LastUsedAt = at
			}
		}
		if _, err := h.ledger.AppendUses(h.t.Context(), &b); err != nil {
			h.t.Fatal(err)
		}
	}
}
