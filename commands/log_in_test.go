package commands_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
	"github.com/keytrail/keytrail/internal/password"
	"github.com/keytrail/keytrail/projections"
)

// A door is a node at which users log in.
type door struct {
	*testing.T
	*commands.Handler
	ledger *eventstore.Ledger
	store  *projections.Store
	pool   *password.Pool
	now    time.Time
}

const rightPassword = "tangent lamp orbit"

var (
	home  = netip.MustParseAddr("2001:db8::7")
	start = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
)

// newDoor is a node on a ledger. Each has a read model of its own.
func newDoor(t *testing.T, l *eventstore.Ledger) *door {
	t.Helper()
	s, err := projections.Open(t.TempDir(), projections.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, s.Close()); err != nil {
			t.Error(err)
		}
	})
	d := &door{T: t, ledger: l, store: s, now: start}
	d.restart()
	return d
}

// restart forgets what is in memory alone.
func (d *door) restart() {
	d.pool = password.NewPool()
	d.Handler = commands.New(d.ledger, commands.Options{LogIns: d.store, LogInKey: [32]byte{1}, Passwords: d.pool, Now: func() time.Time { return d.now }})
}

func (d *door) happens(ref eventstore.Ref, e domain.Event) {
	d.Helper()
	end, err := d.ledger.Last(d.Context(), ref)
	if err == nil {
		end, err = d.ledger.Append(d.Context(), ref, end, eventstore.Command{}, e)
	}
	if err == nil {
		err = d.store.WaitFor(d.Context(), end)
	}
	if err != nil {
		d.Fatal(err)
	}
}

// user makes one; without a password if hash is "".
func (d *door) user(email string, hash domain.PasswordHash) domain.UserID {
	d.Helper()
	id, at := domain.NewUserID(email), domain.Header{At: start}
	d.happens(eventstore.AddressRef(email), domain.AddressClaimed{Email: email, User: id, Header: at})
	d.happens(eventstore.UserRef(id), domain.UserCreated{ID: id, Email: email, Password: hash, Header: at})
	return id
}

func (d *door) hash() domain.PasswordHash {
	d.Helper()
	phc, err := d.pool.Hash(d.Context(), password.Client{}, rightPassword)
	if err != nil {
		d.Fatal(err)
	}
	return domain.PasswordHash(phc)
}

func (d *door) try(email, text string, ip netip.Addr) error {
	_, _, err := d.Authenticate(d.Context(), commands.LogIn{Email: email, Password: domain.NewSecret(text), IP: ip})
	return err
}

// hashes is how many passwords were hashed.
func (d *door) hashes() int {
	d.Helper()
	r := prometheus.NewRegistry()
	r.MustRegister(d.pool.Metrics()[0])
	all, err := r.Gather()
	if err != nil {
		d.Fatal(err)
	}
	return int(all[0].Metric[0].GetCounter().GetValue())
}

// waitOf is how long one must wait, 0 if the error is another one.
func waitOf(err error) time.Duration {
	var refusal *domain.Error
	if errors.As(err, &refusal) && refusal.Code == domain.ErrLogInHeld.Code {
		return refusal.Wait
	}
	return 0
}

func away(i int) netip.Addr { return netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)}) }

// TestFailuresLookAlike whether there is no such user, or no password, or the user is disabled, or the
// password is another one: the answer, the number of hashes, and the back-off.
func TestFailuresLookAlike(t *testing.T) {
	d := newDoor(t, eventstoretest.New(t))
	hash := d.hash()
	d.user("ada@example.com", hash)
	d.user("sso@example.com", "")
	d.happens(eventstore.UserRef(d.user("off@example.com", hash)), domain.UserDisabled{Header: domain.Header{At: start}})
	if err := d.try(" Ada@Example.com", rightPassword, home); err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct{ email, text string }{{"ada@example.com", "wrong"}, {"sso@example.com", rightPassword}, {"off@example.com", rightPassword}, {"nobody@example.com", rightPassword}} {
		before := d.hashes()
		for range 5 {
			if err := d.try(c.email, c.text, away(i)); err != domain.ErrLogInFailed {
				t.Errorf("%s: %v", c.email, err)
			}
		}
		if n := d.hashes() - before; n != 5 {
			t.Errorf("%s: %d hashes for 5 attempts", c.email, n)
		}
		if wait := waitOf(d.try(c.email, rightPassword, away(100+i))); wait != time.Second || d.hashes()-before != 5 {
			t.Errorf("%s: the next one waits for %v", c.email, wait)
		}
		d.restart()
		if wait := waitOf(d.try(c.email, rightPassword, away(100+i))); wait != time.Second {
			t.Errorf("%s: after a restart the next one waits for %v", c.email, wait)
		}
	}
}

// TestBackOffIsThatOfAllNodes, and grows.
func TestBackOffIsThatOfAllNodes(t *testing.T) {
	d := newDoor(t, eventstoretest.New(t))
	other := newDoor(t, d.ledger)
	d.user("ada@example.com", d.hash())
	for i := range 7 {
		node := []*door{d, other}[i%2]
		if err := node.try("ada@example.com", "wrong", away(i)); err != domain.ErrLogInFailed {
			t.Fatalf("attempt %d: %v", i, err)
		}
		end, err := d.ledger.Last(t.Context(), eventstore.LogInsRef(domain.NewUserID("ada@example.com")))
		if err := errors.Join(err, d.store.WaitFor(t.Context(), end), other.store.WaitFor(t.Context(), end)); err != nil {
			t.Fatal(err)
		}
		d.now, other.now = d.now.Add(time.Minute), other.now.Add(time.Minute)
	}
	d.now, other.now = d.now.Add(-time.Minute), other.now.Add(-time.Minute)
	if a, b := waitOf(d.try("ada@example.com", rightPassword, home)), waitOf(other.try("ada@example.com", rightPassword, home)); a != 4*time.Second || b != a {
		t.Errorf("they wait for %v and %v", a, b)
	}
}

// TestAnOwnerIsNotLockedOut of where they logged in before, whatever others try elsewhere; nor does
// an attack on one user, or from one address, keep others out.
func TestAnOwnerIsNotLockedOut(t *testing.T) {
	d := newDoor(t, eventstoretest.New(t))
	ada := d.user("ada@example.com", d.hash())
	d.happens(eventstore.SessionsRef("", ada), domain.SessionCreated{ID: domain.NewSessionID("s"), User: ada, Method: domain.ByPassword, IP: home.String(), ExpiresAt: start.Add(time.Hour), Header: domain.Header{At: start}})
	for i := range 40 {
		a := domain.LogInAttempt{Account: string(ada), User: ada, IP: away(i).String(), At: d.now}
		if i >= 20 {
			a = domain.LogInAttempt{Account: fmt.Sprint("hash", i), IP: "2001:db8::", At: d.now}
		}
		for {
			wait, err := d.FailLogIn(t.Context(), a)
			if err != nil {
				t.Fatal(err)
			}
			if wait == 0 {
				break
			}
			d.now = d.now.Add(wait)
			a.At = d.now
		}
	}
	if wait := waitOf(d.try("ada@example.com", rightPassword, away(99))); wait < 10*time.Minute {
		t.Errorf("from elsewhere one waits for %v", wait)
	}
	if err := d.try("ada@example.com", rightPassword, home.Next()); err != nil {
		t.Error("the owner is locked out:", err)
	}
	for range 5 {
		if err := d.try("ada@example.com", "wrong", home); err != domain.ErrLogInFailed {
			t.Error(err)
		}
	}
	if wait := waitOf(d.try("ada@example.com", rightPassword, home)); wait != time.Second {
		t.Errorf("at home one can try for ever: %v", wait)
	}
}

// TestAttemptsAtOnceAreCounted: a thousand parallel ones are not all free.
func TestAttemptsAtOnceAreCounted(t *testing.T) {
	d := newDoor(t, eventstoretest.New(t))
	d.user("ada@example.com", d.hash())
	before := d.hashes()
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			if err := d.try("ada@example.com", "wrong", away(i)); err != domain.ErrLogInFailed && waitOf(err) == 0 {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := d.hashes() - before; n != 5 {
		t.Errorf("%d were tried", n)
	}
	if n := d.RecentLogIns(); n > 2 { // held ones come with the next flush, and add nothing
		t.Errorf("%d back-offs are kept in memory", n)
	}
}

// TestAFloodIsFewEvents and none of them is lost: 60 at once, one in five seconds, and one for
// all others at each flush.
func TestAFloodIsFewEvents(t *testing.T) {
	d := newDoor(t, eventstoretest.New(t))
	const wrong = 3000
	for i := range wrong {
		a := domain.LogInAttempt{Account: fmt.Sprint("hash", i), IP: away(i % 1000).String(), At: d.now}
		if i%2 == 0 {
			a.User = domain.NewUserID(fmt.Sprint(i))
			a.Account = string(a.User)
		}
		if _, err := d.FailLogIn(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		if i%1000 == 999 {
			d.now = d.now.Add(10 * time.Second)
			d.FlushLogIns(t.Context())
		}
	}
	events, count := 0, 0
	err := d.ledger.Read(t.Context(), eventstore.Query{Reach: domain.All}, func(b eventstore.Batch) error {
		for _, r := range b.Records {
			if e, is := r.Event.(domain.LogInRefused); is {
				events++
				count += e.Count
			}
		}
		return nil
	})
	if err != nil || events > 60+3*3 || count != wrong {
		t.Errorf("%d events of %d wrong passwords: %v", events, count, err)
	}
}
