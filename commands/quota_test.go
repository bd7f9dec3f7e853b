package commands_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
	"github.com/keytrail/keytrail/projections"
)

// A bounded is a KeyspaceIndex with one more keyspace, p.
type bounded struct{ all *domain.Keyspaces }

func (b bounded) Keyspaces() *domain.Keyspaces { return b.all }

func boundedBy(b domain.KeyBounds) bounded {
	k := domain.Keyspace{Name: "p", KeyspaceDefinition: domain.KeyspaceDefinition{Bounds: b}}
	k.Format = domain.Format{Prefix: "p_", Alphabet: domain.Hex, Length: 32}
	return bounded{domain.NewKeyspaces([]domain.Keyspace{k})}
}

// A storeIndex is a read model as a KeyIndex.
type storeIndex struct{ store *projections.Store }

func (i storeIndex) KnownKey(org domain.OrgID, id domain.KeyID) (domain.Key, eventstore.Position, bool) {
	k, err := i.store.KeyState(domain.Only(org), id)
	return k.Key, k.Revision, err == nil
}

// within is f with another handler, which holds keys to bounds, with a read model or without.
func (f fixture) within(b domain.KeyBounds, store *projections.Store) fixture {
	f.Handler = commands.New(f.ledger, boundedOptions(b, store))
	return f
}

func boundedOptions(b domain.KeyBounds, store *projections.Store) commands.Options {
	if store == nil {
		return commands.Options{Keyspaces: boundedBy(b)}
	}
	return commands.Options{Keyspaces: boundedBy(b), Index: store, Keys: storeIndex{store}, Quotas: store}
}

// of is a command that creates a key of an owner in p.
func (f fixture) of(owner string) commands.CreateKey {
	c := f.simple()
	c.Keyspace, c.Owner = "p", owner
	return c
}

func (f fixture) revoke(k commands.KeyResult) {
	f.t.Helper()
	if _, err := f.RevokeKey(f.t.Context(), f.revocation(k)); err != nil {
		f.t.Fatal(err)
	}
}

// refused demands that a command is refused with a code.
func (f fixture) refused(code string, c commands.CreateKey) {
	f.t.Helper()
	_, err := f.CreateKey(f.t.Context(), c)
	var refusal *domain.Error
	if !errors.As(err, &refusal) || refusal.Code != code {
		f.t.Errorf("%v, want %s", err, code)
	}
}

// most replays the ledger, and gives the largest number of keys of p at any position that were
// neither revoked nor recorded as expired: of each owner, and of all.
func (f fixture) most() (ofOwner, ofAll int) {
	f.t.Helper()
	keys, owners, all := map[string]domain.Key{}, map[string]int{}, 0
	count := func(k domain.Key, n int) {
		if k.Keyspace == "p" && (k.State == domain.Active || k.State == domain.Disabled) && !k.ExpiryRecorded() {
			owners[k.Owner] += n
			all += n
			ofOwner, ofAll = max(ofOwner, owners[k.Owner]), max(ofAll, all)
		}
	}
	err := f.ledger.Read(f.t.Context(), eventstore.Query{Reach: domain.Only(f.org)}, func(b eventstore.Batch) error {
		for _, r := range b.Records {
			k := keys[r.Subject]
			count(k, -1)
			k.Apply(r.Event)
			count(k, 1)
			keys[r.Subject] = k
		}
		return nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return ofOwner, ofAll
}

// with and without a read model.
func bothWays(t *testing.T, b domain.KeyBounds, test func(fixture, func())) {
	t.Run("from the ledger", func(t *testing.T) { test(setUp(t).within(b, nil), func() {}) })
	t.Run("with a read model", func(t *testing.T) {
		f := setUp(t)
		store := f.readModel()
		test(f.within(b, store), func() { f.wait(store) })
	})
}

func TestAnOwnerHasNoMoreKeysThanAllowed(t *testing.T) {
	bothWays(t, domain.KeyBounds{KeysPerOwner: 2}, func(f fixture, catchUp func()) {
		first, _ := f.create(f.of("ann")), f.create(f.of("ann"))
		f.refused("key_limit_reached", f.of("ann"))
		f.create(f.of("ann.bob")) // not a token of a subject
		f.create(f.of(""))
		f.create(f.of(""))
		f.refused("key_limit_reached", f.of(""))
		f.revoke(first)
		catchUp()
		f.create(f.of("ann"))
		f.refused("key_limit_reached", f.of("ann"))
		if n, _ := f.most(); n != 2 {
			f.t.Errorf("an owner had %d keys", n)
		}
	})
}

func TestAnOrganizationHasNoMoreKeysThanAllowed(t *testing.T) {
	bothWays(t, domain.KeyBounds{KeysPerOrganization: 2, KeysPerOwner: 2}, func(f fixture, catchUp func()) {
		a := f.create(f.of("a"))
		f.create(f.of("b"))
		f.refused("key_limit_reached", f.of("c"))
		f.refused("key_limit_reached", f.of("c"))
		f.revoke(a)
		catchUp()
		f.create(f.of("c")) // and its owner's place was given back each time
		catchUp()
		_, err := f.ImportKey(f.t.Context(), commands.ImportKey{Request: by(domain.System), Org: f.org, Keyspace: "p", Settings: domain.Settings{Name: "n"}, Digest: domain.Digest{1}})
		if !errors.Is(err, domain.ErrKeyLimitReached) {
			f.t.Errorf("an import: %v", err)
		}
	})
}

func TestARepeatedCreateTakesNoSecondPlace(t *testing.T) {
	bothWays(t, domain.KeyBounds{KeysPerOwner: 1}, func(f fixture, catchUp func()) {
		c := f.of("ann")
		c.CommandID, c.Fingerprint = "once", "body"
		first, again := f.create(c), f.create(c)
		if first.Key.ID != again.Key.ID || !again.Replayed {
			f.t.Errorf("%+v, again %+v", first, again)
		}
		f.revoke(first)
		catchUp()
		f.create(f.of("ann"))
		if again := f.create(c); first.Key.ID != again.Key.ID || !again.Replayed {
			f.t.Errorf("after another one: %+v", again)
		}
	})
}

func TestAnExpiredKeyFreesItsPlace(t *testing.T) {
	bothWays(t, domain.KeyBounds{KeysPerOwner: 1}, func(f fixture, catchUp func()) {
		c := f.of("ann")
		c.ExpiresAt = time.Now().Add(time.Minute)
		f.create(c)
		catchUp()
		f.refused("key_limit_reached", f.of("ann"))
		later := f.later(2 * time.Minute)
		later.create(later.of("ann"))
		later.refused("key_limit_reached", later.of("ann"))
	})
}

// Keys from before there was a bound count.
func TestKeysFromBeforeABoundCount(t *testing.T) {
	f := setUp(t)
	store := f.readModel()
	open := f.within(domain.KeyBounds{}, store)
	first, _, _ := open.create(open.of("ann")), open.create(open.of("ann")), open.create(open.of("bob"))
	f.wait(store)
	f = f.within(domain.KeyBounds{KeysPerOwner: 2, KeysPerOrganization: 3}, store)
	f.refused("key_limit_reached", f.of("ann"))
	f.refused("key_limit_reached", f.of("bob"))
	f.revoke(first)
	f.wait(store)
	f.create(f.of("ann"))
	f.refused("key_limit_reached", f.of("ann"))
	f.refused("key_limit_reached", f.of("bob"))
}

func TestAnotherOwnerNeedsAPlace(t *testing.T) {
	bothWays(t, domain.KeyBounds{KeysPerOwner: 1}, func(f fixture, catchUp func()) {
		ann, bob := f.create(f.of("ann")), f.create(f.of("bob"))
		give := func(k commands.KeyResult, owner string) error {
			catchUp()
			_, err := f.UpdateKey(f.t.Context(), commands.UpdateKey{Request: by(domain.System), Org: f.org, Key: k.Key.ID, Changes: domain.Changes{Owner: &owner}})
			return err
		}
		if err := give(ann, "bob"); !errors.Is(err, domain.ErrKeyLimitReached) {
			f.t.Errorf("to an owner who has one: %v", err)
		}
		for _, owner := range []string{"cid", "ann", "ann", "cid"} {
			if err := give(ann, owner); err != nil {
				f.t.Errorf("to %s: %v", owner, err)
			}
		}
		if err := give(bob, "ann"); err != nil {
			f.t.Error(err)
		}
		catchUp()
		f.refused("key_limit_reached", f.of("cid"))
		f.create(f.of("bob"))
		if n, _ := f.most(); n != 1 {
			f.t.Errorf("an owner had %d keys", n)
		}
	})
}

func TestAnOwnerHasOneKey(t *testing.T) {
	bothWays(t, domain.KeyBounds{OneKeyPerOwner: true}, func(f fixture, catchUp func()) {
		first := f.create(f.of("ann"))
		if want := domain.OneKeyID(f.org, "p", "ann", 1); first.Key.ID != want {
			f.t.Errorf("its id is %s, want %s", first.Key.ID, want)
		}
		f.refused("key_exists", f.of("ann"))
		f.refused("invalid_field", f.of(""))
		if _, err := f.UpdateKey(f.t.Context(), commands.UpdateKey{Request: by(domain.System), Org: f.org, Key: first.Key.ID, Changes: domain.Changes{Owner: new("bob")}}); err == nil {
			f.t.Error("it got another owner")
		}
		f.revoke(first)
		catchUp()
		c := f.of("ann")
		c.CommandID, c.Fingerprint = "once", "body"
		second, again := f.create(c), f.create(c)
		if second.Key.ID != domain.OneKeyID(f.org, "p", "ann", 2) || again.Key.ID != second.Key.ID || !again.Replayed || second.Replayed {
			f.t.Errorf("%+v, again %+v", second, again)
		}
		f.refused("key_exists", f.of("ann"))
		f.revoke(second)
		catchUp()
		if late := f.create(c); late.Key.ID != second.Key.ID || !late.Replayed {
			f.t.Errorf("a repeat after the key's end made another one: %+v", late)
		}
		if n, _ := f.most(); n != 1 {
			f.t.Errorf("an owner had %d keys", n)
		}
	})
}

// later is f with a clock that is ahead.
func (f fixture) later(d time.Duration) fixture {
	f.Handler = f.Handler.Ahead(d)
	return f
}

// A frozen ledger holds the appends of created keys back.
type frozen struct {
	*faulty
	arrived, thaw chan struct{}
}

func (l frozen) Append(ctx context.Context, ref eventstore.Ref, after eventstore.Position, c eventstore.Command, e domain.Event) (eventstore.Position, error) {
	switch e := e.(type) {
	case domain.KeyCreated, domain.KeyUpdated:
		if u, updates := e.(domain.KeyUpdated); !updates || u.Owner != nil {
			select {
			case l.arrived <- struct{}{}:
				<-l.thaw
			default:
			}
		}
	}
	return l.faulty.Append(ctx, ref, after, c, e)
}

// A process that stops between the two steps of a creation, or of a change of the owner, and goes
// on when its place was given away, makes no key more than allowed.
func TestAPlaceThatIsGivenBackIsNoMoreUsed(t *testing.T) {
	for name, late := range map[string]func(fixture, commands.KeyResult) error{
		"a creation": func(f fixture, _ commands.KeyResult) error {
			_, err := f.CreateKey(f.t.Context(), f.of("ann"))
			return err
		},
		"another owner": func(f fixture, k commands.KeyResult) error {
			_, err := f.UpdateKey(f.t.Context(), commands.UpdateKey{Request: by(domain.System), Org: f.org, Key: k.Key.ID, Changes: domain.Changes{Owner: new("ann")}})
			return err
		},
	} {
		for _, taken := range []bool{true, false} {
			t.Run(fmt.Sprint(name, " taken ", taken), func(t *testing.T) {
				f := setUp(t)
				store := f.readModel()
				bounds := domain.KeyBounds{KeysPerOwner: 1}
				f = f.within(bounds, store)
				bob := f.create(f.of("bob"))
				f.wait(store)
				l := frozen{f.ledger, make(chan struct{}), make(chan struct{})}
				slow := f
				slow.Handler = commands.New(l, boundedOptions(bounds, store))
				done := make(chan error)
				go func() { done <- late(slow, bob) }()
				<-l.arrived
				f.wait(store)
				if taken {
					f.create(f.of("ann"))
				} else {
					f.later(2 * time.Minute).ReleaseUnused(t.Context())
				}
				f.wait(store)
				close(l.thaw)
				if err := <-done; taken != errors.Is(err, domain.ErrKeyLimitReached) {
					t.Errorf("the late one: %v", err)
				}
				if n, _ := f.most(); n != 1 {
					t.Errorf("an owner had %d keys", n)
				}
			})
		}
	}
}

// Whatever is lost on the way: no more keys than allowed, and when the passes were there, all places again.
func TestNoFaultExceedsAQuotaOrLosesAPlace(t *testing.T) {
	for _, bounds := range []domain.KeyBounds{{KeysPerOwner: 2, KeysPerOrganization: 3}, {OneKeyPerOwner: true, KeysPerOrganization: 2}} {
		f := setUp(t)
		store := f.readModel()
		f = f.within(bounds, store)
		var keys []commands.KeyResult
		for i := range 40 {
			f.ledger.appends = 0
			ctx, cancel := context.WithCancel(t.Context())
			f.ledger.before = func(n int) { // a crash before, or after, one of the appends
				if n == i%4 {
					cancel()
				}
			}
			k, err := f.CreateKey(ctx, f.of(fmt.Sprint("owner", i%2)))
			f.ledger.before = nil
			cancel()
			if err == nil {
				keys = append(keys, k)
			}
			f.wait(store)
			if i%5 == 4 && len(keys) > 0 {
				f.revoke(keys[0])
				keys = keys[1:]
				f.wait(store)
			}
		}
		if a, b := f.most(); a > 2 || b > 3 || bounds.OneKeyPerOwner && (a > 1 || b > 2) {
			t.Errorf("%+v: %d keys of an owner, %d in all", bounds, a, b)
		}
		f.flush(store)
		for _, id := range f.active(store) {
			f.revoke(commands.KeyResult{Key: domain.Key{ID: id}})
		}
		f.wait(store)
		f.later(2 * time.Minute).ReleaseUnused(t.Context())
		f.wait(store)
		f.create(f.of("owner0"))
		f.create(f.of("owner1"))
	}
}

// flush returns when store has also what was on its way to the ledger when its request was given up.
func (f fixture) flush(store *projections.Store) {
	f.t.Helper()
	if _, err := f.CreateOrganization(f.t.Context(), commands.CreateOrganization{Request: by(domain.System), Name: "last"}); err != nil {
		f.t.Fatal(err)
	}
	f.wait(store)
}

// active are the keys of p that are.
func (f fixture) active(store *projections.Store) (ids []domain.KeyID) {
	page, err := store.KeysAfter("", 1000)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, k := range page {
		if k.State == domain.Active {
			ids = append(ids, k.ID)
		}
	}
	return ids
}

// Many goroutines on two nodes, each with a read model of its own.
func TestConcurrentCreatesKeepWithinQuotas(t *testing.T) {
	for _, bounds := range []domain.KeyBounds{{KeysPerOwner: 3, KeysPerOrganization: 5}, {OneKeyPerOwner: true}} {
		f := setUpOn(t, eventstoretest.New(t))
		var nodes [2]*commands.Handler
		for i := range nodes {
			nodes[i] = commands.New(f.ledger.Ledger, boundedOptions(bounds, f.readModel()))
		}
		var tasks sync.WaitGroup
		for i := range 6 {
			tasks.Go(func() {
				node := nodes[i%2]
				for range 8 {
					k, err := node.CreateKey(t.Context(), f.of(fmt.Sprint("owner", rand.N(2))))
					var full *domain.Error
					switch {
					case err == nil && rand.N(3) == 0: // it stays
					case err == nil:
						if _, err := node.RevokeKey(t.Context(), f.revocation(k)); err != nil {
							t.Error(err)
						}
					case errors.As(err, &full) && (full.Code == "key_limit_reached" || full.Code == "key_exists"):
					default:
						t.Error(err)
					}
				}
			})
		}
		tasks.Wait()
		a, b := f.most()
		if a > 3 || b > 5 && !bounds.OneKeyPerOwner || bounds.OneKeyPerOwner && a > 1 {
			t.Errorf("%+v: %d keys of an owner, %d in all", bounds, a, b)
		}
	}
}

func TestALimitSaysWhichAndHowMany(t *testing.T) {
	f := setUp(t).within(domain.KeyBounds{KeysPerOwner: 1}, nil)
	f.create(f.of("ann"))
	if _, err := f.CreateKey(t.Context(), f.of("ann")); err == nil || !strings.Contains(err.Error(), "keys_per_owner of the keyspace allows, which is 1") {
		t.Error(err)
	}
}

// What the read model takes for a key's, or an organization's, by its name would stop it.
func TestAKeyspaceIsNotNamedLikeAnID(t *testing.T) {
	f := setUp(t)
	for _, name := range []string{string(domain.NewKeyID(f.org, "k")), string(f.org)} {
		c := commands.KeyspaceDefinition{Request: by(domain.System), Name: name}
		c.Format = domain.Format{Prefix: "id_", Alphabet: domain.Hex, Length: 32}
		var refused *domain.Error
		if _, err := f.DefineKeyspace(t.Context(), c); !errors.As(err, &refused) || refused.Field != "name" {
			t.Errorf("%s: %v", name, err)
		}
	}
}
