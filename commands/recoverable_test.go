package commands_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
)

// keyspaces are what a handler of these tests goes by.
type keyspaces struct{ all *domain.Keyspaces }

func (k *keyspaces) Keyspaces() *domain.Keyspaces { return k.all }

func (k *keyspaces) set(recoverable bool) {
	pilot := domain.Keyspace{Name: "pilot", KeyspaceDefinition: domain.KeyspaceDefinition{Recoverable: recoverable,
		Format: domain.Format{Prefix: "pk_", Alphabet: domain.Base62, Length: 32, Shown: 4}}}
	k.all = domain.NewKeyspaces([]domain.Keyspace{pilot})
}

// A brokenStore fails in the place of the real one.
type brokenStore struct {
	*eventstore.Ledger
	put, destroy error
}

func (s *brokenStore) PutDataKey(ctx context.Context, r eventstore.DataKeyRef, sealed []byte) error {
	if s.put != nil {
		return s.put
	}
	return s.Ledger.PutDataKey(ctx, r, sealed)
}

func (s *brokenStore) DestroyDataKey(ctx context.Context, r eventstore.DataKeyRef) error {
	if s.destroy != nil {
		return s.destroy
	}
	return s.Ledger.DestroyDataKey(ctx, r)
}

type recoverable struct {
	fixture
	keyspaces *keyspaces
	store     *brokenStore
}

func setUpRecoverable(t *testing.T) recoverable {
	l := eventstoretest.New(t)
	f := recoverable{setUpOn(t, l), &keyspaces{}, &brokenStore{Ledger: l}}
	f.keyspaces.set(true)
	f.Handler = f.handler([32]byte{1})
	return f
}

func (f recoverable) handler(sealing [32]byte) *commands.Handler {
	return commands.New(f.ledger, commands.Options{Keyspaces: f.keyspaces, DataKeys: f.store, Sealing: sealing})
}

func (f recoverable) pilot() commands.CreateKey {
	c := f.simple()
	c.Keyspace = "pilot"
	return c
}

func (f recoverable) reveal(id domain.KeyID) (string, error) {
	r, err := f.RevealKey(f.t.Context(), commands.RevealKey{Request: by(domain.System), Org: f.org, Key: id})
	return r.Secret.Reveal(), err
}

func (f recoverable) mustReveal(id domain.KeyID, want string) {
	f.t.Helper()
	if got, err := f.reveal(id); err != nil || got != want {
		f.t.Errorf("revealed %v, %v", got == want, err)
	}
}

func (f recoverable) refused(id domain.KeyID, want error) {
	f.t.Helper()
	if got, err := f.reveal(id); !errors.Is(err, want) || got != "" {
		f.t.Errorf("revealed %q, %v, want %v", got, err, want)
	}
}

func (f recoverable) rotate(id domain.KeyID, overlap time.Duration) string {
	f.t.Helper()
	r, err := f.RotateKey(f.t.Context(), commands.RotateKey{Request: by(domain.System), Org: f.org, Key: id, Overlap: new(domain.Duration(overlap))})
	if err != nil {
		f.t.Fatal(err)
	}
	return r.Secret.Reveal()
}

func (f recoverable) revoke(id domain.KeyID) {
	f.t.Helper()
	if _, err := f.RevokeKey(f.t.Context(), commands.RevokeKey{Request: by(domain.System), Org: f.org, Key: id}); err != nil {
		f.t.Fatal(err)
	}
}

// dataKeys is how many there are.
func (f recoverable) dataKeys() (n int) {
	f.t.Helper()
	if err := f.store.EachDataKey(f.t.Context(), func(eventstore.DataKeyRef) error { n++; return nil }); err != nil {
		f.t.Fatal(err)
	}
	return n
}

func TestARecoverableSecretIsRevealedUntilItEnds(t *testing.T) {
	f := setUpRecoverable(t)
	made := f.create(f.pilot())
	id := made.Key.ID
	f.mustReveal(id, made.Secret.Reveal())
	f.mustReveal(id, made.Secret.Reveal())
	f.check(eventstore.KeyRef(f.org, id), 3) // created, and revealed twice

	second := f.rotate(id, time.Hour)
	f.mustReveal(id, second)
	if n := f.dataKeys(); n != 1 {
		t.Errorf("%d data keys after a rotation with an overlap", n)
	}
	f.revoke(id)
	f.refused(id, domain.ErrKeyRevoked)
	if n := f.dataKeys(); n != 0 {
		t.Errorf("%d data keys after the revocation", n)
	}
}

func TestWhatCannotBeRevealed(t *testing.T) {
	f := setUpRecoverable(t)
	f.refused(f.create(f.simple()).Key.ID, domain.ErrNotRecoverable)
	f.refused(domain.NewKeyID(f.org, "none"), domain.ErrKeyNotFound)
	imported, err := f.ImportKey(t.Context(), commands.ImportKey{Request: by(domain.System), Org: f.org, Keyspace: "pilot", Settings: domain.Settings{Name: "old"}, Digest: domain.NewSecret("x").Digest()})
	if err != nil {
		t.Fatal(err)
	}
	f.refused(imported.Key.ID, domain.ErrNotRecoverable)

	f.keyspaces.set(false)
	early := f.create(f.pilot()).Key.ID
	f.keyspaces.set(true)
	f.refused(early, domain.ErrNotRecoverable)
	secret := f.rotate(early, 0)
	f.mustReveal(early, secret)
	f.keyspaces.set(false)
	f.refused(early, domain.ErrNotRecoverable)
	f.keyspaces.set(true)
	f.mustReveal(early, secret)

	f.Handler = f.handler([32]byte{2}) // another keyring
	f.refused(early, domain.ErrNotRecoverable)
	f.Handler = commands.New(f.ledger, commands.Options{Keyspaces: f.keyspaces}) // none to keep data keys
	f.refused(early, domain.ErrNotRecoverable)
}

// TestTheSecretIsNowhereInTheClear reads every message as it lies on the ledger.
func TestTheSecretIsNowhereInTheClear(t *testing.T) {
	f := setUpRecoverable(t)
	made := f.create(f.pilot())
	f.mustReveal(made.Key.ID, made.Secret.Reveal())
	end, err := f.ledger.End(t.Context(), eventstore.Events)
	if err != nil {
		t.Fatal(err)
	}
	sealed := 0
	if err := f.ledger.Copy(t.Context(), eventstore.Events, 0, end, func(m *eventstore.Raw) error {
		header := strings.Join(m.Header["Keytrail-Private"], "")
		if strings.Contains(header+string(m.Data), made.Secret.Reveal()) || strings.Contains(string(m.Data), "sealed") {
			t.Errorf("position %d tells the secret: %s", m.Position, m.Data)
		}
		sealed += strings.Count(header, `"sealed"`)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if sealed != 1 {
		t.Errorf("%d events have a sealed secret", sealed)
	}
}

// TestASealedSecretIsThatOfItsKey puts what is sealed for one key into the place of another's.
func TestASealedSecretIsThatOfItsKey(t *testing.T) {
	f := setUpRecoverable(t)
	f.create(f.pilot())
	f.create(f.pilot())
	var refs []eventstore.DataKeyRef
	if err := f.store.EachDataKey(t.Context(), func(r eventstore.DataKeyRef) error { refs = append(refs, r); return nil }); err != nil {
		t.Fatal(err)
	}
	first, err := f.store.DataKey(t.Context(), refs[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := f.store.PutDataKey(t.Context(), refs[1], first); err != nil {
		t.Fatal(err)
	}
	f.refused(refs[1].Key, domain.ErrNotRecoverable)
}

func TestACreateOfWhichTheDataKeyIsNotKeptWritesNothing(t *testing.T) {
	f := setUpRecoverable(t)
	f.store.put = errFault
	c := f.pilot()
	c.CommandID = "c"
	if _, err := f.CreateKey(t.Context(), c); !errors.Is(err, errFault) {
		t.Errorf("%v", err)
	}
	f.check(eventstore.KeyRef(f.org, domain.NewKeyID(f.org, "c")), 0)
	f.store.put = nil
	id := f.create(f.pilot()).Key.ID
	f.store.put = errFault
	if _, err := f.RotateKey(t.Context(), commands.RotateKey{Request: by(domain.System), Org: f.org, Key: id}); !errors.Is(err, errFault) {
		t.Errorf("%v", err)
	}
	f.check(eventstore.KeyRef(f.org, id), 1)
}

// TestWhatIsLeftOverIsSwept stops after each step of a secret's life.
func TestWhatIsLeftOverIsSwept(t *testing.T) {
	f := setUpRecoverable(t)
	living := f.create(f.pilot())
	sweep := f.Sweeper()
	pass := func(want int) {
		t.Helper()
		if err := sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := f.dataKeys(); n != want {
			t.Errorf("%d data keys, want %d", n, want)
		}
	}
	pass(1)

	// A data key without an event may be a command's that is being carried out: the second pass takes it.
	ctx, cancel := context.WithCancel(t.Context())
	f.ledger.refuse = 100
	f.ledger.refused = cancel
	if _, err := f.CreateKey(ctx, f.pilot()); err == nil {
		t.Fatal("created")
	}
	f.ledger.refuse, f.ledger.refused = 0, nil
	pass(2)
	pass(1)

	// Those of a rotated and of a revoked secret, in the first one.
	f.store.destroy = errFault
	second := f.rotate(living.Key.ID, time.Hour)
	gone := f.create(f.pilot()).Key.ID
	f.revoke(gone)
	f.store.destroy = nil
	if n := f.dataKeys(); n != 3 {
		t.Fatalf("%d data keys, want 3", n)
	}
	pass(1)
	f.mustReveal(living.Key.ID, second)
}
