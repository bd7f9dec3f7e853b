package commands_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
)

// A crashing log stops a command ahead of its n-th append, or right behind it.
type crashing struct {
	*eventstore.Ledger
	appends int
	behind  bool
	stop    context.CancelFunc
}

func (l *crashing) Append(ctx context.Context, ref eventstore.Ref, after eventstore.Position, c eventstore.Command, e domain.Event) (eventstore.Position, error) {
	l.appends--
	if l.appends == 0 && !l.behind {
		l.stop()
		return 0, errFault
	}
	p, err := l.Ledger.Append(ctx, ref, after, c, e)
	if l.appends == 0 {
		l.stop()
		return 0, errFault
	}
	return p, err
}

// rootKeys are the keys that serve the whole installation and are not revoked, by digest.
func rootKeys(t *testing.T, l *eventstore.Ledger) map[domain.Digest]bool {
	t.Helper()
	keys := map[string]*domain.Key{}
	if err := l.Read(t.Context(), eventstore.Query{Reach: domain.All, Stream: eventstore.Events}, func(b eventstore.Batch) error {
		for _, r := range b.Records {
			if keys[r.Subject] == nil {
				keys[r.Subject] = &domain.Key{}
			}
			keys[r.Subject].Apply(r.Event)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	good := map[domain.Digest]bool{}
	for _, k := range keys {
		if k.Root && k.State == domain.Active {
			good[k.Secrets[0].Digest] = true
		}
	}
	return good
}

func TestARootKeyResetCanBeCutOffAnywhereAndRepeated(t *testing.T) {
	var kept domain.Secret
	keep := func(s domain.Secret) error { kept = s; return nil }
	for _, appends := range []int{1, 2} {
		for _, behind := range []bool{false, true} {
			for _, next := range []string{"reset", "start"} {
				t.Run(fmt.Sprint(appends, behind, next), func(t *testing.T) {
					l := eventstoretest.New(t)
					whole := commands.New(l, commands.Options{})
					if _, err := whole.EnsureRootKey(t.Context(), keep); err != nil {
						t.Fatal(err)
					}
					first := kept
					ctx, stop := context.WithCancel(t.Context())
					cut := commands.New(&crashing{l, appends, behind, stop}, commands.Options{})
					if _, err := cut.ResetRootKey(ctx, keep); err == nil {
						t.Fatal("it was not cut off")
					}
					var err error
					if next == "reset" {
						_, err = whole.ResetRootKey(t.Context(), keep)
					} else {
						_, err = whole.EnsureRootKey(t.Context(), keep)
					}
					want := kept
					if appends == 1 && !behind && next == "start" {
						want = first // nothing was written: the old one, put aside, is still good
					}
					if good := rootKeys(t, l); err != nil || len(good) != 1 || !good[want.Digest()] {
						t.Errorf("%v; %d root keys are good, the right one: %v", err, len(good), good[want.Digest()])
					}
				})
			}
		}
	}
}

func TestAResetThatCannotKeepTheSecretChangesNothing(t *testing.T) {
	l := eventstoretest.New(t)
	h := commands.New(l, commands.Options{})
	if _, err := h.EnsureRootKey(t.Context(), func(domain.Secret) error { return nil }); err != nil {
		t.Fatal(err)
	}
	before := rootKeys(t, l)
	lost := errors.New("disk full")
	if _, err := h.ResetRootKey(t.Context(), func(domain.Secret) error { return lost }); !errors.Is(err, lost) {
		t.Errorf("%v", err)
	}
	if after := rootKeys(t, l); !maps.Equal(before, after) {
		t.Errorf("%d root keys, then %d others", len(before), len(after))
	}
	if end, _ := l.End(t.Context(), eventstore.Events); end != 1 {
		t.Errorf("%d events", end)
	}
}

func TestOfConcurrentResetsOneHasTheRootKey(t *testing.T) {
	l := eventstoretest.New(t)
	h := commands.New(l, commands.Options{})
	if _, err := h.EnsureRootKey(t.Context(), func(domain.Secret) error { return nil }); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var created sync.Map
	for range 4 {
		wg.Go(func() {
			var kept domain.Secret
			h := commands.New(l, commands.Options{})
			made, err := h.ResetRootKey(t.Context(), func(s domain.Secret) error { kept = s; return nil })
			if err != nil {
				t.Error(err)
			}
			created.Store(kept.Digest(), made)
		})
	}
	wg.Wait()
	good := rootKeys(t, l)
	if len(good) != 1 {
		t.Errorf("%d root keys", len(good))
	}
	created.Range(func(d, made any) bool {
		if good[d.(domain.Digest)] && made != true {
			t.Error("the process that has the root key was told that it has not")
		}
		return true
	})
}

func TestIDsOfImportedKeysFollowFromTheInstallationsSecret(t *testing.T) {
	f := setUp(t)
	d := domain.NewSecret("weak").Digest()
	imported := func(h *commands.Handler, org domain.OrgID) domain.KeyID {
		t.Helper()
		r, err := h.ImportKey(t.Context(), commands.ImportKey{Request: by(domain.System), Org: org, Settings: domain.Settings{Name: "n"}, Digest: d})
		if err != nil {
			t.Fatal(err)
		}
		return r.Key.ID
	}
	other, err := f.CreateOrganization(t.Context(), commands.CreateOrganization{Request: by(domain.System), Name: "globex"})
	if err != nil {
		t.Fatal(err)
	}
	first := commands.New(f.ledger, commands.Options{ImportIDs: [32]byte{1}})
	again := commands.New(f.ledger, commands.Options{ImportIDs: [32]byte{1}})
	second := commands.New(f.ledger, commands.Options{ImportIDs: [32]byte{2}})
	id := imported(first, f.org)
	if imported(again, f.org) != id {
		t.Error("another process with the same secret gives another id")
	}
	if imported(second, f.org) == id || imported(first, other.Organization.ID) == id {
		t.Error("the id tells the digest without the secret, or the organization")
	}
	none := commands.New(f.ledger, commands.Options{})
	if imported(none, f.org) == imported(commands.New(f.ledger, commands.Options{}), f.org) {
		t.Error("without a secret the ids can be computed")
	}
}

func TestAnInstallationHasOneKeyring(t *testing.T) {
	l := eventstoretest.New(t)
	var wg sync.WaitGroup
	var won sync.Map
	for i := range 6 {
		wg.Go(func() {
			mine := fmt.Sprint("ring", i)
			k, err := commands.New(l, commands.Options{}).SetKeyring(t.Context(), mine, false)
			won.Store(k.Fingerprint, true)
			if (err == nil) != (k.Fingerprint == mine) || err != nil && !errors.Is(err, domain.ErrKeyringMismatch) {
				t.Errorf("%s: %v, %v", mine, k, err)
			}
		})
	}
	wg.Wait()
	h := commands.New(l, commands.Options{})
	k, err := h.Keyring(t.Context())
	if _, one := won.Load(k.Fingerprint); err != nil || !one {
		t.Errorf("%v, %v", k, err)
	}
	if end, _ := l.End(t.Context(), eventstore.Events); end != 1 {
		t.Errorf("%d events, want 1", end)
	}
	if k, err := h.SetKeyring(t.Context(), "new", true); err != nil || k.Fingerprint != "new" {
		t.Errorf("replacing: %v, %v", k, err)
	}
}
