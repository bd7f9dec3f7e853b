package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/projections"
)

// A ledgerOfTruth is what clients were told: whatever was acknowledged must stay true.
type ledgerOfTruth struct {
	mu   sync.Mutex
	keys map[string]*promise
	uses []use // answered verifications
}

// A promise is what one key's only user knows of it.
type promise struct {
	org     string
	secret  string
	old     []string // rotated away without overlap
	revoked bool
	unsure  bool // a change was under way when the service was killed
}

func (l *ledgerOfTruth) change(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

// TestNothingAcknowledgedIsLostInACrash kills the service at random moments under mixed
// load, and after each restart compares it with what its clients were told.
func TestNothingAcknowledgedIsLostInACrash(t *testing.T) {
	t.Parallel() // it waits more than it computes
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	truth := &ledgerOfTruth{keys: map[string]*promise{}}
	r := launch(t, t.TempDir())
	var orgs []tenant
	for range 5 {
		orgs = append(orgs, r.newTenant(t))
	}
	for round := range *crashRounds {
		var workers sync.WaitGroup
		for w := range 8 {
			dice := rand.New(rand.NewPCG(seed, uint64(round*8+w+1)))
			key := r.rootKey(t)
			url := r.url
			workers.Go(func() { truth.work(t, url, key, orgs, fmt.Sprintf("r%d-w%d", round, w), dice) })
		}
		timer := time.NewTimer(200*time.Millisecond + time.Duration(random.IntN(1500))*time.Millisecond)
		<-timer.C
		r.end(t, syscall.SIGKILL)
		workers.Wait()
		compareReadModel(t, r.data)
		r = launch(t, r.data)
		truth.check(t, r)
		for _, o := range orgs {
			truth.checkHistory(t, r, o)
		}
	}
	revoked := 0
	for _, p := range truth.keys {
		if p.revoked {
			revoked++
		}
	}
	if t.Logf("%d keys, %d of them revoked, %d uses", len(truth.keys), revoked, len(truth.uses)); revoked == 0 || len(truth.uses) == 0 {
		t.Error("the load was not mixed, which proves little")
	}
}

// work changes and verifies keys of its own until the service does not answer.
func (l *ledgerOfTruth) work(t *testing.T, url, root string, orgs []tenant, name string, dice *rand.Rand) {
	// do tells whether the service acknowledged; a refusal is a fault, silence the kill.
	do := func(path, request string, in, out any) bool {
		err := send(context.Background(), "POST", url+path, root, request, in, out)
		if refused := new(refusedError); errors.As(err, &refused) {
			t.Error(err)
		}
		return err == nil
	}
	var mine []string
	for i := 0; ; i++ {
		request, org := fmt.Sprintf("%s-%d", name, i), orgs[dice.IntN(len(orgs))].org
		if len(mine) == 0 || dice.IntN(6) == 0 {
			var m made
			if !do("/v1/keys", request, map[string]any{"org_id": org, "name": request}, &m) {
				return
			}
			mine = append(mine, m.Key.ID)
			l.change(func() { l.keys[m.Key.ID] = &promise{org: org, secret: m.Secret} })
			continue
		}
		id := mine[dice.IntN(len(mine))]
		p := l.promised(id)
		switch n := dice.IntN(12); {
		case n == 0 && !p.revoked:
			l.change(func() { p.unsure = true })
			if !do("/v1/keys/"+id+"/revoke", request, map[string]any{}, nil) {
				return
			}
			l.change(func() { p.unsure, p.revoked = false, true })
		case n == 3:
			some := mine[:1+dice.IntN(len(mine))]
			l.change(func() { l.unsureOf(some) })
			if !do("/v1/keys/revoke", request, map[string]any{"ids": some}, nil) {
				return
			}
			l.change(func() { l.revoked(some) })
		case n == 4:
			lines, secrets := linesToImport(org, request, 1+dice.IntN(40))
			var sum struct {
				Results []struct {
					Key    string `json:"key_id"`
					Detail string
				}
			}
			if !do("/v1/keys/import", request, lines, &sum) {
				return
			}
			l.change(func() {
				for i, result := range sum.Results {
					if result.Key == "" {
						t.Errorf("line %d of %s is not imported: %s", i, request, result.Detail)
						continue
					}
					l.keys[result.Key] = &promise{org: org, secret: secrets[i]}
					mine = append(mine, result.Key)
				}
			})
		case n <= 2 && !p.revoked:
			var m made
			l.change(func() { p.unsure = true })
			if !do("/v1/keys/"+id+"/rotate", request, map[string]any{}, &m) {
				return
			}
			l.change(func() { p.unsure, p.old, p.secret = false, append(p.old, p.secret), m.Secret })
		default:
			if !do("/v1/verify", request, map[string]string{"key": p.secret}, nil) {
				return
			}
			l.change(func() { l.uses = append(l.uses, use{request, id}) })
		}
	}
}

// linesToImport are n keys; with some twenty they share a batch.
func linesToImport(org, name string, n int) (lines ndjson, secrets []string) {
	for i := range n {
		secret := fmt.Sprintf("issued-elsewhere-%s-%d", name, i)
		digest := domain.NewSecret(secret).Digest()
		lines = fmt.Appendf(lines, `{"org_id":%q,"name":%q,"digest":"%x"}`+"\n", org, name, digest[:])
		secrets = append(secrets, secret)
	}
	return lines, secrets
}

func (l *ledgerOfTruth) unsureOf(ids []string) {
	for _, id := range ids {
		l.keys[id].unsure = l.keys[id].unsure || !l.keys[id].revoked
	}
}

func (l *ledgerOfTruth) revoked(ids []string) {
	for _, id := range ids {
		l.keys[id].unsure, l.keys[id].revoked = false, true
	}
}

func (l *ledgerOfTruth) promised(id string) *promise {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.keys[id]
}

// check compares the service with what was promised. No load may run.
func (l *ledgerOfTruth) check(t *testing.T, r *running) {
	t.Helper()
	valid := func(secret string) bool {
		var v struct{ Valid bool }
		r.call(t, "POST", "/v1/verify", map[string]string{"key": secret}, &v)
		return v.Valid
	}
	for id, p := range l.keys {
		var k struct{ Status string }
		r.call(t, "GET", "/v1/keys/"+id, nil, &k)
		if p.revoked && (k.Status != "revoked" || valid(p.secret)) {
			t.Errorf("%s was revoked and is %s", id, k.Status)
		}
		if !p.unsure && !p.revoked && !valid(p.secret) {
			t.Errorf("%s is refused", id)
		}
		for _, secret := range p.old[max(0, len(p.old)-1):] {
			if valid(secret) {
				t.Errorf("a secret of %s that was rotated away is good", id)
			}
		}
	}
	recorded := r.uses(t)
	for _, u := range l.uses {
		if recorded[u] != 1 {
			t.Errorf("use %v was answered and is on the ledger %d times", u, recorded[u])
		}
	}
}

// A tenant is an organization and the secret of its auditor.
type tenant struct{ org, auditor string }

func (r *running) newTenant(t *testing.T) tenant {
	t.Helper()
	org := r.newOrg(t)
	var m made
	r.call(t, "POST", "/v1/keys", map[string]any{"org_id": org, "keyspace": "keytrail", "name": "auditor", "scopes": []string{"audit:read"}}, &m)
	return tenant{org, m.Secret}
}

// checkHistory reads what an organization's auditor is shown, newest and oldest first, and that of
// one key. It must be the organization's uses, each once, and no other's.
func (l *ledgerOfTruth) checkHistory(t *testing.T, r *running, o tenant) {
	t.Helper()
	want, ofKey, key := map[use]int{}, map[use]int{}, ""
	for _, u := range l.uses {
		if p := l.keys[u.key]; p.org == o.org {
			want[u]++
			key = u.key
		}
	}
	for u := range want {
		if u.key == key {
			ofKey[u]++
		}
	}
	for _, order := range []string{"asc", "desc"} {
		compareUses(t, r.history(t, o, "order="+order), want)
		if key != "" {
			compareUses(t, r.history(t, o, "order="+order+"&key_id="+key), ofKey)
		}
	}
}

// compareUses: each that was promised is there once. Others may be there, whose answer was lost.
func compareUses(t *testing.T, got, want map[use]int) {
	t.Helper()
	for u := range want {
		if got[u] != 1 {
			t.Errorf("use %v is shown %d times", u, got[u])
		}
	}
	for u, n := range got {
		if n != 1 {
			t.Errorf("use %v is shown %d times", u, n)
		}
	}
}

// history is the uses that an organization's auditor pages through, by the key and the request.
func (r *running) history(t *testing.T, o tenant, query string) map[use]int {
	t.Helper()
	all, cursor := map[use]int{}, ""
	for atEnd := false; !atEnd; {
		var page struct {
			Items []struct {
				Org     string `json:"orgid"`
				Request string `json:"correlationid"`
				Data    struct {
					Key string `json:"key_id"`
				}
			}
			Next  string `json:"next_cursor"`
			AtEnd bool   `json:"at_end"`
		}
		if err := send(t.Context(), "GET", r.url+"/v1/events?type=key.used&limit=97&"+query+"&cursor="+cursor, o.auditor, "", nil, &page); err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Items {
			if e.Org != o.org {
				t.Errorf("the auditor of %s is shown a use of %s", o.org, e.Org)
			}
			all[use{e.Request, e.Data.Key}]++
		}
		cursor, atEnd = page.Next, page.AtEnd
	}
	return all
}

// compareReadModel brings the stopped service's read model up to date and compares it,
// byte for byte, with one built from the ledger's beginning.
func compareReadModel(t *testing.T, data string) {
	t.Helper()
	s, err := eventstore.StartServer(filepath.Join(data, "ledger"), discard())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	nc, err := s.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	l, err := eventstore.Open(t.Context(), nc, eventstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	kept, rebuilt := rowsOf(t, filepath.Join(data, "readmodel"), l), rowsOf(t, t.TempDir(), l)
	if !bytes.Equal(kept, rebuilt) {
		t.Errorf("the read model (%d bytes) differs from one rebuilt from the ledger (%d bytes)", len(kept), len(rebuilt))
	}
}

// rowsOf is every row of the read model in dir once it has all of the ledger.
func rowsOf(t *testing.T, dir string, l *eventstore.Ledger) []byte {
	t.Helper()
	s, err := projections.Open(dir, projections.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, l) }()
	defer func() { stop(); <-done }()
	for stream, wait := range map[eventstore.Stream]func(context.Context, eventstore.Position) error{eventstore.Events: s.WaitFor, eventstore.Uses: s.WaitForUses} {
		end, err := l.End(ctx, stream)
		if err == nil {
			err = wait(ctx, end)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	if err := s.Dump(func(name string, key, value []byte) error {
		_, err := fmt.Fprintf(&b, "%s %x=%x\n", name, key, value)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
