package commands_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
	"github.com/keytrail/keytrail/internal/token"
)

// A snapshot is a KeyIndex that has what a ledger had when it was taken.
type snapshot map[domain.KeyID]commands.KeyResult

func (s snapshot) KnownKey(_ domain.OrgID, id domain.KeyID) (domain.Key, eventstore.Position, bool) {
	k, found := s[id]
	return k.Key, k.Position, found
}

// counted is a ledger whose loads are counted.
type counted struct {
	commands.EventLog
	loads atomic.Int32
}

func (l *counted) Load(ctx context.Context, ref eventstore.Ref, after eventstore.Position, each func(eventstore.Record)) (eventstore.Position, error) {
	l.loads.Add(1)
	return l.EventLog.Load(ctx, ref, after, each)
}

// indexed is a handler like f's that goes by index, and its ledger.
func (f fixture) indexed(index snapshot) (*commands.Handler, *counted) {
	l := &counted{EventLog: f.ledger.Ledger}
	return commands.New(l, commands.Options{Keys: index}), l
}

func (f fixture) revocation(k commands.KeyResult) commands.RevokeKey {
	return commands.RevokeKey{Request: by(domain.System), Org: f.org, Key: k.Key.ID}
}

func TestAKnownKeyIsRevokedWithoutALoad(t *testing.T) {
	f := setUp(t)
	k := f.create(f.simple())
	h, l := f.indexed(snapshot{k.Key.ID: k})
	revoked, err := h.RevokeKey(t.Context(), f.revocation(k))
	if err != nil || !revoked.Changed || revoked.Replayed || revoked.Key.State != domain.Revoked || l.loads.Load() != 0 {
		t.Errorf("%+v, %v after %d loads", revoked, err, l.loads.Load())
	}
	f.check(eventstore.KeyRef(f.org, k.Key.ID), 2)

	h, l = f.indexed(snapshot{k.Key.ID: revoked})
	again, err := h.RevokeKey(t.Context(), f.revocation(k))
	if err != nil || again.Changed || again.Position != revoked.Position || l.loads.Load() != 0 {
		t.Errorf("again: %+v, %v after %d loads", again, err, l.loads.Load())
	}
	f.check(eventstore.KeyRef(f.org, k.Key.ID), 2)
}

// A command does what it would do without an index, be that up to date or not.
func TestAnIndexChangesNoAnswer(t *testing.T) {
	ledger := eventstoretest.New(t)
	disable := func(f fixture, k commands.KeyResult, r commands.Request) (commands.KeyResult, error) {
		return f.DisableKey(t.Context(), commands.DisableKey{Request: r, Org: f.org, Key: k.Key.ID})
	}
	revoke := func(f fixture, k commands.KeyResult, r commands.Request) (commands.KeyResult, error) {
		return f.RevokeKey(t.Context(), commands.RevokeKey{Request: r, Org: f.org, Key: k.Key.ID})
	}
	nothing := func(_ fixture, k commands.KeyResult, _ commands.Request) (commands.KeyResult, error) { return k, nil }
	once := func(body string) commands.Request {
		return commands.Request{By: domain.System, CommandID: "once", Fingerprint: body}
	}
	for name, c := range map[string]struct {
		before  func(fixture, commands.KeyResult, commands.Request) (commands.KeyResult, error) // what happened to the key
		by      commands.Request                                                                // which did so
		request commands.Request
		changed bool
		err     error
		events  int
	}{
		"a new key":                           {nothing, by(domain.System), by(domain.System), true, nil, 2},
		"it was disabled":                     {disable, by(domain.System), by(domain.System), true, nil, 3},
		"it was revoked":                      {revoke, by(domain.System), by(domain.System), false, nil, 2},
		"the request was carried out":         {revoke, once("body"), once("body"), true, nil, 2},
		"another one had its Idempotency-Key": {disable, once("other"), once("body"), false, domain.ErrIdempotencyMismatch, 2},
		"it is meant for another revision":    {disable, by(domain.System), commands.Request{By: domain.System, IfMatch: 1 << 40}, false, domain.ErrRevisionStale, 2},
		"it is revoked, at another revision":  {revoke, by(domain.System), commands.Request{By: domain.System, IfMatch: 1 << 40}, false, domain.ErrRevisionStale, 2},
		"the caller may not":                  {nothing, by(domain.System), by(domain.Principal{ID: "key_b", Org: "org_b"}), false, domain.ErrKeyNotFound, 1},
	} {
		for _, stale := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, stale %v", name, stale), func(t *testing.T) {
				f := setUpOn(t, ledger) // it remembers no request
				k := f.create(f.simple())
				now, err := c.before(f, k, c.by)
				if err != nil {
					t.Fatal(err)
				}
				if stale {
					now = k
				}
				h, _ := f.indexed(snapshot{k.Key.ID: now})
				got, err := h.RevokeKey(t.Context(), commands.RevokeKey{Request: c.request, Org: f.org, Key: k.Key.ID})
				if !errors.Is(err, c.err) || err == nil && (got.Changed != c.changed || got.Key.State != domain.Revoked) {
					t.Errorf("%+v, %v; want changed %v, %v", got, err, c.changed, c.err)
				}
				f.check(eventstore.KeyRef(f.org, k.Key.ID), c.events)
			})
		}
	}
}

func TestAKnownImportIsNotReadAgain(t *testing.T) {
	f := setUp(t)
	importKey := func(h *commands.Handler) commands.KeyResult {
		r, err := h.ImportKey(t.Context(), commands.ImportKey{Request: by(domain.System), Org: f.org, Settings: domain.Settings{Name: "n"}, Digest: domain.NewSecret("x").Digest()})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	first := importKey(f.Handler)
	l := &counted{EventLog: f.ledger.Ledger}
	secret := [32]byte{1}
	h := commands.New(l, commands.Options{ImportIDs: secret})
	made := importKey(h)
	if made.Replayed || made.Key.ID == first.Key.ID {
		t.Errorf("another keyring's key: %+v", made)
	}
	loads := l.loads.Load()
	h = commands.New(l, commands.Options{ImportIDs: secret, Keys: snapshot{made.Key.ID: made}})
	if again := importKey(h); !again.Replayed || again.Key.ID != made.Key.ID || l.loads.Load() != loads+1 { // the organization
		t.Errorf("again: %+v after %d loads", again, l.loads.Load()-loads)
	}
}

// flaky is a ledger whose appends fail at random, before or after they are written, or find
// another writer's event.
type flaky struct {
	*eventstore.Ledger
	dice func(n int) int
}

func (l flaky) Append(ctx context.Context, ref eventstore.Ref, after eventstore.Position, c eventstore.Command, e domain.Event) (eventstore.Position, error) {
	if l.dice(4) == 0 {
		return 0, errFault
	}
	p, err := l.Ledger.Append(ctx, ref, after, c, e)
	if l.dice(4) == 0 {
		return 0, errFault
	}
	return p, err
}

// Keys that are imported and revoked together, in batches that fail at random, each end with
// one event of each command; so does a repeat of all of it.
func TestFaultsOfManyCommandsAtOnceWriteNothingTwice(t *testing.T) {
	f := setUp(t)
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(1, 2))
	ledger := flaky{f.ledger.Ledger, func(n int) int { mu.Lock(); defer mu.Unlock(); return random.IntN(n) }}
	ids := [32]byte{1}
	h := commands.New(ledger, commands.Options{ImportIDs: ids})
	const keys = 300
	results := make([]commands.KeyResult, keys)
	together := func(do func(i int) (commands.KeyResult, error)) {
		var wg sync.WaitGroup
		for i := range results {
			wg.Go(func() {
				r, err := do(i)
				if err != nil {
					t.Error(err)
				}
				results[i] = r
			})
		}
		wg.Wait()
	}
	for round := range 2 {
		together(func(i int) (commands.KeyResult, error) {
			return h.ImportKey(t.Context(), commands.ImportKey{Request: by(domain.System), Org: f.org, Settings: domain.Settings{Name: "n"}, Digest: domain.NewSecret(fmt.Sprint(i)).Digest()})
		})
		index := snapshot{}
		for _, r := range results {
			if r.Replayed != (round == 1) {
				t.Fatalf("round %d: %+v", round, r)
			}
			index[r.Key.ID] = r
		}
		h = commands.New(ledger, commands.Options{ImportIDs: ids, Keys: index})
		together(func(i int) (commands.KeyResult, error) { return h.RevokeKey(t.Context(), f.revocation(results[i])) })
		for _, r := range results {
			if r.Changed != (round == 0) || r.Key.State != domain.Revoked {
				t.Fatalf("round %d: %+v", round, r)
			}
			f.check(eventstore.KeyRef(f.org, r.Key.ID), 2)
		}
	}
}

// reading is a ledger that tells from where histories were loaded.
type reading struct {
	commands.EventLog
	from []eventstore.Position
}

func (l *reading) Load(ctx context.Context, ref eventstore.Ref, after eventstore.Position, each func(eventstore.Record)) (eventstore.Position, error) {
	l.from = append(l.from, after)
	return l.EventLog.Load(ctx, ref, after, each)
}

func TestTheHistoryOfAKnownKeyIsNotReadAgain(t *testing.T) {
	f := setUp(t)
	for name, change := range map[string]func(*commands.Handler, commands.KeyResult) (commands.KeyResult, error){
		"disable": func(h *commands.Handler, k commands.KeyResult) (commands.KeyResult, error) {
			return h.DisableKey(t.Context(), commands.DisableKey{Request: by(domain.System), Org: f.org, Key: k.Key.ID})
		},
		"update": func(h *commands.Handler, k commands.KeyResult) (commands.KeyResult, error) {
			return h.UpdateKey(t.Context(), commands.UpdateKey{Request: by(domain.System), Org: f.org, Key: k.Key.ID, Changes: domain.Changes{Name: new("now")}})
		},
		"rotate": func(h *commands.Handler, k commands.KeyResult) (commands.KeyResult, error) {
			return h.RotateKey(t.Context(), commands.RotateKey{Request: by(domain.System), Org: f.org, Key: k.Key.ID})
		},
		"revoke": func(h *commands.Handler, k commands.KeyResult) (commands.KeyResult, error) {
			return h.RevokeKey(t.Context(), f.revocation(k))
		},
	} {
		t.Run(name, func(t *testing.T) {
			k := f.create(f.simple())
			if _, err := f.UpdateKey(t.Context(), commands.UpdateKey{Request: by(domain.System), Org: f.org, Key: k.Key.ID, Changes: domain.Changes{Owner: new("somebody")}}); err != nil {
				t.Fatal(err)
			}
			l := &reading{EventLog: f.ledger.Ledger}
			got, err := change(commands.New(l, commands.Options{Keys: snapshot{k.Key.ID: k}}), k) // which is old
			if err != nil || !got.Changed || got.Key.Owner != "somebody" {
				t.Errorf("%+v, %v", got, err)
			}
			if len(l.from) == 0 || slices.Contains(l.from, 0) {
				t.Errorf("read from %v, and the key is known at %d", l.from, k.Position)
			}
		})
	}
}

// crowd is a ledger that tells how many events were appended at once.
type crowd struct {
	commands.EventLog
	now, most atomic.Int32
}

func (l *crowd) Append(ctx context.Context, ref eventstore.Ref, after eventstore.Position, c eventstore.Command, e domain.Event) (eventstore.Position, error) {
	n := l.now.Add(1)
	defer l.now.Add(-1)
	for most := l.most.Load(); n > most && !l.most.CompareAndSwap(most, n); most = l.most.Load() {
	}
	return l.EventLog.Append(ctx, ref, after, c, e)
}

func TestTokensOfAKeyAreDerivedOneAfterAnother(t *testing.T) {
	f := setUp(t)
	k := f.create(f.simple())
	issuer, err := token.NewIssuer([32]byte{1}, [32]byte{2}, "")
	if err != nil {
		t.Fatal(err)
	}
	l := &crowd{EventLog: f.ledger.Ledger}
	h := commands.New(l, commands.Options{Tokens: issuer, Keyspaces: bounded{all: domain.NewKeyspaces([]domain.Keyspace{{Name: domain.DefaultKeyspace, KeyspaceDefinition: domain.KeyspaceDefinition{Tokens: &domain.TokenPolicy{}}}})}})
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			p := domain.Principal{ID: string(k.Key.ID), Org: f.org}
			if _, err := h.DeriveToken(t.Context(), commands.DeriveToken{Request: by(p), Org: f.org, Key: k.Key.ID, Secret: k.Secret.Digest()}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if most := l.most.Load(); most != 1 {
		t.Errorf("%d tokens were written at once: they keep each other, and a revocation, waiting", most)
	}
}

func TestAKeyWithAllItsReportsIsNotRead(t *testing.T) {
	f := setUp(t)
	k := f.create(f.simple())
	k.Key.Leaks = 20
	h, l := f.indexed(snapshot{k.Key.ID: k})
	if err := h.ReportLeak(t.Context(), commands.ReportLeak{Request: by(domain.System), Org: f.org, Key: k.Key.ID, Secret: k.Secret.Digest(), Source: "s"}); err != nil || l.loads.Load() != 0 {
		t.Errorf("%v after %d loads", err, l.loads.Load())
	}
}
