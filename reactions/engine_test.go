package reactions_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
	"github.com/keytrail/keytrail/internal/lease"
	"github.com/keytrail/keytrail/projections"
	"github.com/keytrail/keytrail/reactions"
)

// An installation is a ledger on which people come and go.
type installation struct {
	testing.TB
	server *eventstore.Server
	ledger *eventstore.Ledger
	org    domain.OrgID
	*node

	mu   sync.Mutex
	last map[eventstore.Ref]eventstore.Position
}

// A node is a process at the ledger.
type node struct {
	store    *projections.Store
	commands *commands.Handler
	engine   *reactions.Engine
	metrics  *prometheus.Registry
}

func install(t testing.TB) *installation {
	server := eventstoretest.Server(t)
	i := &installation{TB: t, server: server, ledger: eventstoretest.Open(t, server), last: map[eventstore.Ref]eventstore.Position{}}
	i.node = i.newNode("a", nil)
	o, err := i.commands.CreateOrganization(t.Context(), commands.CreateOrganization{Request: commands.Request{By: domain.System}, Name: "acme"})
	if err != nil {
		t.Fatal(err)
	}
	i.org = o.Organization.ID
	return i
}

// keyIndex is a read model as a KeyIndex.
type keyIndex struct{ store *projections.Store }

func (i keyIndex) KnownKey(org domain.OrgID, id domain.KeyID) (domain.Key, eventstore.Position, bool) {
	k, err := i.store.KeyState(domain.Only(org), id)
	return k.Key, k.Revision, err == nil
}

// newNode is another process, whose commands go through wrap; nil: straight to the ledger.
func (i *installation) newNode(name string, wrap func(*eventstore.Ledger) commands.EventLog) *node {
	i.Helper()
	l := eventstoretest.Open(i, i.server)
	n := &node{metrics: prometheus.NewRegistry()}
	var err error
	if n.store, err = projections.Open(i.TempDir(), projections.Options{}); err != nil {
		i.Fatal(err)
	}
	i.Cleanup(func() { _ = n.store.Close() })
	i.background(func(ctx context.Context) error { return n.store.Run(ctx, l) })
	var log commands.EventLog = l
	if wrap != nil {
		log = wrap(l)
	}
	n.commands = commands.New(log, commands.Options{Index: n.store, Keys: keyIndex{n.store}, Keyspaces: n.store, Quotas: n.store, People: n.store, Plans: n.store, DataKeys: l})
	n.engine = reactions.New(reactions.Options{Ledger: l, Store: n.store, Commands: n.commands, Node: name, Logger: slog.New(slog.NewTextHandler(i.Output(), nil)), Metrics: n.metrics})
	return n
}

// background runs a task until the test ends, or until what it gives is called.
func (i *installation) background(task func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = task(ctx) }()
	stop = func() { cancel(); <-done }
	i.Cleanup(stop)
	return stop
}

// happens writes an event about a person.
func (i *installation) happens(ref eventstore.Ref, e domain.Event) eventstore.Position {
	i.Helper()
	i.mu.Lock()
	defer i.mu.Unlock()
	p, err := i.ledger.Append(i.Context(), ref, i.last[ref], eventstore.Command{Correlation: "request"}, e)
	if err != nil {
		i.Fatal(err)
	}
	i.last[ref] = p
	return p
}

func at() domain.Header { return domain.Header{At: time.Now().UTC(), By: "system"} }

// registers makes a user.
func (i *installation) registers(name string) domain.UserID {
	i.Helper()
	id := domain.NewUserID(name)
	i.happens(eventstore.UserRef(id), domain.UserCreated{ID: id, Email: name + "@example.com", Header: at()})
	return id
}

func (i *installation) joins(org domain.OrgID, id domain.UserID) {
	i.Helper()
	i.happens(eventstore.MembersRef(org), domain.MembershipCreated{User: id, Role: domain.RoleMember, Header: at()})
}

func (i *installation) leaves(org domain.OrgID, id domain.UserID) {
	i.Helper()
	i.happens(eventstore.MembersRef(org), domain.MembershipRemoved{User: id, Role: domain.RoleMember, Header: at()})
}

// defines gives a keyspace a policy.
func (i *installation) defines(name string, issue *domain.IssuePolicy, bounds domain.KeyBounds) {
	i.Helper()
	c := commands.KeyspaceDefinition{Request: commands.Request{By: domain.System}, Name: name}
	c.Format, c.Issue, c.Bounds = domain.Format{Prefix: name + "_", Alphabet: domain.Hex, Length: 32}, issue, bounds
	r, err := i.commands.ApplyKeyspace(i.Context(), c)
	if err == nil {
		err = i.store.WaitFor(i.Context(), r.Position)
	}
	if err != nil {
		i.Fatal(err)
	}
}

// creates makes a key of an owner by hand.
func (i *installation) creates(owner string) domain.KeyID {
	i.Helper()
	r, err := i.commands.CreateKey(i.Context(), commands.CreateKey{Request: commands.Request{By: domain.System}, Org: i.org, Settings: domain.Settings{Name: "by hand", Owner: owner}})
	if err != nil {
		i.Fatal(err)
	}
	return r.Key.ID
}

// caughtUp waits until all that follows from what happened is on the ledger and in the read model.
func (i *installation) caughtUp() domain.ReactionStatus {
	i.Helper()
	var s domain.ReactionStatus
	until(i, "reactions have caught up", func() bool {
		var err error
		s, err = i.engine.Status(i.Context())
		return err == nil && s.LagEvents == 0
	})
	end, err := i.ledger.End(i.Context(), eventstore.Events)
	if err == nil {
		err = i.store.WaitFor(i.Context(), end)
	}
	if err != nil {
		i.Fatal(err)
	}
	return s
}

func until(t testing.TB, what string, f func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !f() {
		if time.Now().After(deadline) {
			t.Fatal("not within a minute: " + what)
		}
		timer := time.NewTimer(5 * time.Millisecond)
		<-timer.C
	}
}

// keys are those of an owner, by their state.
func (i *installation) keys(owner string) (active, revoked []projections.KeyRow) {
	i.Helper()
	page, err := i.store.Keys(projections.KeyQuery{Reach: domain.All, Owner: owner, Sort: "created_at", Limit: 1000, Now: time.Now()})
	if err != nil {
		i.Fatal(err)
	}
	for _, k := range page.Keys {
		if k.State == domain.Revoked {
			revoked = append(revoked, k)
		} else {
			active = append(active, k)
		}
	}
	return active, revoked
}

func (i *installation) demand(owner domain.UserID, active, revoked int) {
	i.Helper()
	a, r := i.keys(string(owner))
	if len(a) != active || len(r) != revoked {
		i.Errorf("%s has %d keys and had %d, want %d and %d", owner, len(a), len(r), active, revoked)
	}
}

func (n *node) run(i *installation) (stop func()) { return i.background(n.engine.Run) }

// TestAKeyIsIssuedToEachNewUser and member, in each keyspace that says so, from when it says so.
func TestAKeyIsIssuedToEachNewUser(t *testing.T) {
	i := install(t)
	before := i.registers("before")
	i.defines("pilot", &domain.IssuePolicy{On: domain.IssueOnUser, Organization: i.org, Name: "first key", Scopes: []string{"a:read"}}, domain.KeyBounds{})
	i.defines("ward", &domain.IssuePolicy{On: domain.IssueOnMembership}, domain.KeyBounds{})
	i.defines("other", nil, domain.KeyBounds{})
	ann := i.registers("ann")
	i.joins(i.org, ann)
	i.joins(domain.Installation, ann)
	i.defines("pilot", nil, domain.KeyBounds{})
	after := i.registers("after")
	i.defines("pilot", &domain.IssuePolicy{On: domain.IssueOnUser, Organization: i.org}, domain.KeyBounds{})
	i.run(i)
	s := i.caughtUp()
	i.demand(before, 0, 0)
	i.demand(after, 0, 0)
	i.demand(ann, 2, 0)
	if s.Issued != 2 || s.Refused != 0 || s.Node != "a" || !s.FailingSince.IsZero() {
		t.Errorf("the status is %+v", s)
	}
	keys, _ := i.keys(string(ann))
	for _, k := range keys {
		issued := map[string]string{"pilot": "first key", "ward": domain.IssuedName}[k.Keyspace]
		if k.Name != issued || k.Org != i.org || k.CreatedBy != domain.System.ID || (k.Keyspace == "pilot") != slices.Equal(k.Scopes, []string{"a:read"}) {
			t.Errorf("%+v was issued", k.Key)
		}
		if _, err := i.ledger.Load(t.Context(), eventstore.KeyRef(k.Org, k.ID), 0, func(r eventstore.Record) {
			if r.Correlation != "request" {
				t.Errorf("the event does not tell what it followed from: %q", r.Correlation)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	late := i.registers("late")
	i.caughtUp()
	i.demand(late, 1, 0)
}

// TestRepeatsChangeNothing: neither when the position was lost, nor when the key is at its end, nor
// when its keyspace gives each owner one.
func TestRepeatsChangeNothing(t *testing.T) {
	i := install(t)
	i.defines("pilot", &domain.IssuePolicy{On: domain.IssueOnUser, Organization: i.org}, domain.KeyBounds{KeysPerOwner: 2})
	i.defines("single", &domain.IssuePolicy{On: domain.IssueOnUser, Organization: i.org}, domain.KeyBounds{OneKeyPerOwner: true})
	ann, bob := i.registers("ann"), i.registers("bob")
	stop := i.run(i)
	end := i.caughtUp().Position
	i.demand(ann, 2, 0)
	i.demand(bob, 2, 0)
	keys, _ := i.keys(string(ann))
	for _, k := range keys {
		if _, err := i.commands.RevokeKey(t.Context(), commands.RevokeKey{Request: commands.Request{By: domain.System}, Org: k.Org, Key: k.ID}); err != nil {
			t.Fatal(err)
		}
	}
	i.caughtUp()
	stop()
	for _, state := range []string{`{}`, `{"position":3,"event":"another ledger's"}`, `{"position":99999,"event":"lost"}`} {
		now, err := i.ledger.State(t.Context(), eventstore.Reactions, "checkpoint")
		if err == nil {
			_, err = i.ledger.PutState(t.Context(), eventstore.Reactions, "checkpoint", now.Revision, []byte(state))
		}
		if err != nil {
			t.Fatal(err)
		}
		stop := i.run(i)
		var s domain.ReactionStatus
		until(t, "it has begun again", func() bool { s = i.caughtUp(); return s.Position == end })
		stop()
		i.demand(ann, 0, 2)
		i.demand(bob, 2, 0)
		if s.Issued != 0 || s.Refused != 0 {
			t.Errorf("after %s: %+v", state, s)
		}
	}
}

// TestTheKeysOfWhoIsGoneAreRevoked: in the organization that they left, or everywhere.
func TestTheKeysOfWhoIsGoneAreRevoked(t *testing.T) {
	i := install(t)
	i.defines("ward", &domain.IssuePolicy{On: domain.IssueOnMembership}, domain.KeyBounds{})
	i.defines("pilot", &domain.IssuePolicy{On: domain.IssueOnUser, Organization: i.org}, domain.KeyBounds{})
	o, err := i.commands.CreateOrganization(t.Context(), commands.CreateOrganization{Request: commands.Request{By: domain.System}, Name: "other"})
	if err != nil {
		t.Fatal(err)
	}
	other := o.Organization.ID
	ann, bob, eve := i.registers("ann"), i.registers("bob"), i.registers("eve")
	for _, user := range []domain.UserID{ann, bob, eve} {
		i.joins(i.org, user)
		i.joins(other, user)
	}
	i.run(i)
	i.caughtUp()
	byHand, strangers := i.creates(string(ann)), i.creates("ann")
	i.leaves(i.org, ann)
	i.happens(eventstore.UserRef(bob), domain.UserRemoved{Email: "bob@example.com", Header: at()})
	i.happens(eventstore.UserRef(eve), domain.UserDisabled{Header: at()})
	s := i.caughtUp()
	i.demand(ann, 1, 3) // hers in the other organization stays
	i.demand(bob, 0, 3)
	i.demand(eve, 3, 0) // who may be enabled again
	if s.Revoked != 6 {
		t.Errorf("%d were revoked: %+v", s.Revoked, s)
	}
	_, revoked := i.keys(string(ann))
	if !slices.ContainsFunc(revoked, func(k projections.KeyRow) bool { return k.ID == byHand }) {
		t.Error("a key that she had made herself was not revoked")
	}
	for _, k := range revoked {
		if k.Reason != domain.AffiliationChanged || k.Comment != "membership removed" || k.RevokedBy != domain.System.ID || k.ID == strangers {
			t.Errorf("%+v", k.Key)
		}
	}
}

// TestWhoComesBackHasNewKeys, and those that were made since stay, though the departure is read
// after them.
func TestWhoComesBackHasNewKeys(t *testing.T) {
	i := install(t)
	i.defines("ward", &domain.IssuePolicy{On: domain.IssueOnMembership}, domain.KeyBounds{})
	ann := i.registers("ann")
	i.joins(i.org, ann)
	stop := i.run(i)
	i.caughtUp()
	stop()
	i.creates(string(ann))
	i.leaves(i.org, ann)
	i.joins(i.org, ann)
	i.leaves(i.org, ann)
	i.joins(i.org, ann)
	kept := i.creates(string(ann))
	i.run(i)
	i.caughtUp()
	i.demand(ann, 2, 2)
	if active, _ := i.keys(string(ann)); active[0].ID != kept && active[1].ID != kept {
		t.Error("the key that was made after the return was revoked")
	}
}

// TestWhoHasAKeyIsIssuedNoneBesideTheOne of an owner.
func TestWhoHasAKeyIsIssuedNoneBesideTheOne(t *testing.T) {
	i := install(t)
	i.defines("single", &domain.IssuePolicy{On: domain.IssueOnMembership}, domain.KeyBounds{OneKeyPerOwner: true})
	ann := i.registers("ann")
	if _, err := i.commands.CreateKey(t.Context(), commands.CreateKey{Request: commands.Request{By: domain.System}, Org: i.org, Keyspace: "single", Settings: domain.Settings{Name: "by hand", Owner: string(ann)}}); err != nil {
		t.Fatal(err)
	}
	i.joins(i.org, ann)
	i.run(i)
	if s := i.caughtUp(); s.Refused != 0 || s.Issued != 0 {
		t.Errorf("%+v", s)
	}
	i.demand(ann, 1, 0)
}

// TestWhatIsRefusedIsNotedAndHoldsNothingUp.
func TestWhatIsRefusedIsNotedAndHoldsNothingUp(t *testing.T) {
	i := install(t)
	i.defines("small", &domain.IssuePolicy{On: domain.IssueOnUser, Organization: i.org}, domain.KeyBounds{KeysPerOrganization: 1})
	i.defines("retired", &domain.IssuePolicy{On: domain.IssueOnUser, Organization: i.org}, domain.KeyBounds{})
	i.defines("good", &domain.IssuePolicy{On: domain.IssueOnUser, Organization: i.org}, domain.KeyBounds{})
	users := []domain.UserID{i.registers("u0")}
	stop := i.run(i)
	i.caughtUp()
	stop()
	for n := range 30 {
		users = append(users, i.registers(fmt.Sprint("u", n+1)))
	}
	if _, err := i.commands.RetireKeyspace(t.Context(), commands.RetireKeyspace{Request: commands.Request{By: domain.System}, Name: "retired"}); err != nil {
		t.Fatal(err)
	}
	last := i.registers("last")
	i.run(i)
	s := i.caughtUp()
	i.demand(users[0], 3, 0)
	for _, u := range users[1:] {
		i.demand(u, 1, 0)
	}
	i.demand(last, 1, 0)
	codes := map[string]int{}
	for _, r := range s.Refusals {
		codes[r.Code]++
		if r.Position == 0 || r.At.IsZero() || r.Org != i.org || r.User == "" || r.Keyspace == "" || r.Detail == "" {
			t.Errorf("%+v", r)
		}
	}
	if s.Refused != 61 || len(s.Refusals) != 20 || codes["key_limit_reached"] == 0 || codes["key_limit_reached"]+codes["keyspace_retired"] != 20 {
		t.Errorf("%d refusals, the last %v", s.Refused, codes)
	}
	if got := i.metric("keytrail_reactions_total", "refused"); got != 61 {
		t.Errorf("the metric says %v", got)
	}
}

// metric is the value of a metric, of one label if it has some.
func (n *node) metric(name, label string) float64 {
	all, err := n.metrics.Gather()
	if err != nil {
		return -1
	}
	for _, family := range all {
		for _, m := range family.GetMetric() {
			if family.GetName() == name && (label == "" || m.GetLabel()[0].GetValue() == label) {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	return -1
}

// A faulty ledger fails appends to keys, before or after they are written.
type faulty struct {
	*eventstore.Ledger
	mu    sync.Mutex
	fails func(n int) (before, after bool)
	n     int
}

var errFault = errors.New("the network is down")

func (f *faulty) Append(ctx context.Context, ref eventstore.Ref, after eventstore.Position, c eventstore.Command, e domain.Event) (eventstore.Position, error) {
	if ref.Kind != "key" {
		return f.Ledger.Append(ctx, ref, after, c, e)
	}
	f.mu.Lock()
	f.n++
	unwritten, lost := f.fails(f.n)
	f.mu.Unlock()
	if unwritten {
		return 0, domain.ErrStorageFull // which is passing, and not tried again by the command
	}
	p, err := f.Ledger.Append(ctx, ref, after, c, e)
	if lost && err == nil {
		return 0, errFault
	}
	return p, err
}

// TestAFailureIsTriedAgain, in order, and is seen.
func TestAFailureIsTriedAgain(t *testing.T) {
	i := install(t)
	var down sync.Mutex
	isDown := true
	n := i.newNode("b", func(l *eventstore.Ledger) commands.EventLog {
		return &faulty{Ledger: l, fails: func(n int) (bool, bool) {
			down.Lock()
			defer down.Unlock()
			return isDown && n%3 == 0, n%3 == 1
		}}
	})
	i.defines("pilot", &domain.IssuePolicy{On: domain.IssueOnUser, Organization: i.org}, domain.KeyBounds{})
	var users []domain.UserID
	for n := range 20 {
		users = append(users, i.registers(fmt.Sprint("u", n)))
	}
	n.run(i)
	until(t, "the failure is seen", func() bool {
		s, err := i.engine.Status(t.Context())
		return err == nil && !s.FailingSince.IsZero() && strings.Contains(s.LastError, "disk space") && s.LagEvents > 0 && n.engine.Failing() && n.metric("keytrail_reactions_failing", "") == 1
	})
	down.Lock()
	isDown = false
	down.Unlock()
	s := i.caughtUp()
	if !s.FailingSince.IsZero() || s.LastError == "" || n.engine.Failing() || n.metric("keytrail_reactions_lag_events", "") != 0 {
		t.Errorf("after it: %+v", s)
	}
	for _, u := range users {
		i.demand(u, 1, 0)
	}
}

// TestAFormerHolderDoesNoHarm: two processes that both react, because one has lost the lease and does
// not know it, issue one key to each user.
func TestAFormerHolderDoesNoHarm(t *testing.T) {
	i := install(t)
	i.defines("pilot", &domain.IssuePolicy{On: domain.IssueOnUser, Organization: i.org}, domain.KeyBounds{KeysPerOwner: 3})
	i.defines("single", &domain.IssuePolicy{On: domain.IssueOnUser, Organization: i.org}, domain.KeyBounds{OneKeyPerOwner: true})
	frozen, thaw := make(chan struct{}), make(chan struct{})
	var once sync.Once
	b := i.newNode("b", func(l *eventstore.Ledger) commands.EventLog {
		return &faulty{Ledger: l, fails: func(n int) (bool, bool) {
			if n == 5 {
				once.Do(func() { close(frozen); <-thaw })
			}
			return false, false
		}}
	})
	b.run(i)
	until(t, "b reacts", func() bool { return b.metric("keytrail_reactions_leader", "") == 1 })
	var users []domain.UserID
	for n := range 20 {
		users = append(users, i.registers(fmt.Sprint("u", n)))
	}
	<-frozen
	until(t, "the lease is given to a", func() bool {
		now, err := i.ledger.State(t.Context(), eventstore.Reactions, lease.Name)
		if err == nil {
			_, err = i.ledger.PutState(t.Context(), eventstore.Reactions, lease.Name, now.Revision, []byte(`{"holder":"","node":"b","term":9}`))
		}
		return err == nil
	})
	i.run(i)
	i.caughtUp()
	close(thaw)
	until(t, "b knows that it has lost the lease", func() bool { return b.metric("keytrail_reactions_leader", "") == 0 })
	i.caughtUp()
	for _, u := range users {
		i.demand(u, 2, 0)
	}
}

// BenchmarkRegistrations is how long it takes until each of 10,000 users who register at once has a
// key. The server does not sync.
func BenchmarkRegistrations(b *testing.B) {
	const users = 10_000
	for b.Loop() {
		b.StopTimer()
		i := install(b)
		i.defines("pilot", &domain.IssuePolicy{On: domain.IssueOnUser, Organization: i.org}, domain.KeyBounds{})
		var tasks sync.WaitGroup
		for w := range 100 {
			tasks.Go(func() {
				for n := range users / 100 {
					id := domain.NewUserID(fmt.Sprint(w, " ", n))
					if _, err := i.ledger.Append(b.Context(), eventstore.UserRef(id), 0, eventstore.Command{}, domain.UserCreated{ID: id, Header: at()}); err != nil {
						b.Error(err)
					}
				}
			})
		}
		tasks.Wait()
		b.StartTimer()
		i.run(i)
		if s := i.caughtUp(); s.Issued != users {
			b.Errorf("%+v", s)
		}
	}
	b.ReportMetric(float64(users)*float64(b.N)/b.Elapsed().Seconds(), "keys/s")
}
