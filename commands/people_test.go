package commands_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/projections"
)

// withPeople is f with a handler that has a read model of people.
func (f fixture) withPeople() (fixture, *projections.Store) {
	store := f.readModel()
	f.Handler = commands.New(f.ledger, commands.Options{People: store, Index: store})
	return f, store
}

func (f fixture) user(email string) domain.User {
	f.t.Helper()
	r, err := f.CreateUser(f.t.Context(), commands.CreateUser{Request: by(domain.System), Email: email})
	if err != nil {
		f.t.Fatal(err)
	}
	return r.User
}

func (f fixture) set(user domain.UserID, role string) {
	f.t.Helper()
	if _, err := f.SetMember(f.t.Context(), commands.SetMember{Request: by(domain.System), Org: f.org, User: user, Role: role}); err != nil {
		f.t.Fatal(err)
	}
}

// holders are the users who have an address, as the ledger has them.
func (f fixture) holders(email string, ids ...domain.UserID) (all []domain.UserID) {
	f.t.Helper()
	for _, id := range ids {
		var u domain.User
		if _, err := f.ledger.Load(f.t.Context(), eventstore.UserRef(id), 0, func(r eventstore.Record) { u.Apply(r.Event) }); err != nil {
			f.t.Fatal(err)
		}
		if u.Email == email && u.Status() != domain.RemovedUser {
			all = append(all, id)
		}
	}
	return all
}

func TestOfConcurrentUsersOfOneAddressOneComesToBe(t *testing.T) {
	f := setUp(t)
	h := commands.New(f.ledger.Ledger, commands.Options{})
	var mu sync.Mutex
	var made []domain.UserID
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			r, err := h.CreateUser(t.Context(), commands.CreateUser{Request: by(domain.System), Email: "ada@example.com"})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				made = append(made, r.User.ID)
			} else if !errors.Is(err, domain.ErrEmailTaken) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(made) != 1 {
		t.Errorf("%d users", len(made))
	}
}

// A process that ends between the claim of an address and the user leaves an address that the next can
// have, and the first cannot any more.
func TestAnAddressThatWasNeverTakenIsFree(t *testing.T) {
	f := setUp(t)
	first := commands.CreateUser{Request: commands.Request{By: domain.System, CommandID: "first"}, Email: "ada@example.com"}
	one := commands.New(f.ledger, commands.Options{})
	stopped, stop := context.WithCancel(t.Context())
	f.ledger.appends = 0
	f.ledger.before = func(n int) {
		if n == 1 { // the claim is written, and the user is not
			f.ledger.refuse = 1
			stop()
		}
	}
	if _, err := one.CreateUser(stopped, first); err == nil {
		t.Fatal("the user came to be")
	}
	f.ledger.before, f.ledger.refuse = nil, 0
	early := commands.CreateUser{Request: by(domain.System), Email: "ada@example.com"}
	if _, err := one.CreateUser(t.Context(), early); !errors.Is(err, domain.ErrEmailTaken) {
		t.Errorf("at once: %v", err)
	}
	later := one.Ahead(time.Minute)
	second, err := later.CreateUser(t.Context(), early)
	if err != nil {
		t.Fatal(err)
	}
	// The first process wakes up, or its request is repeated.
	if _, err := one.CreateUser(t.Context(), first); !errors.Is(err, domain.ErrEmailTaken) {
		t.Errorf("repeated after that: %v", err)
	}
	if all := f.holders("ada@example.com", second.User.ID, domain.NewUserID("first")); !slices.Equal(all, []domain.UserID{second.User.ID}) {
		t.Errorf("%v have the address", all)
	}
}

// The address is taken over while the first process stands between claim and user.
func TestAClaimThatIsForgoneMakesNoUser(t *testing.T) {
	f := setUp(t)
	later := commands.New(f.ledger.Ledger, commands.Options{}).Ahead(time.Minute)
	var second commands.UserResult
	f.ledger.appends = 0
	f.ledger.before = func(n int) {
		if n == 1 { // of the user
			var err error
			if second, err = later.CreateUser(t.Context(), commands.CreateUser{Request: by(domain.System), Email: "ada@example.com"}); err != nil {
				t.Error(err)
			}
		}
	}
	_, err := f.CreateUser(t.Context(), commands.CreateUser{Request: commands.Request{By: domain.System, CommandID: "first"}, Email: "ada@example.com"})
	if !errors.Is(err, domain.ErrEmailTaken) {
		t.Errorf("%v", err)
	}
	if all := f.holders("ada@example.com", second.User.ID, domain.NewUserID("first")); len(all) != 1 {
		t.Errorf("%v have the address", all)
	}
}

// An address changes, and each of the steps fails before and after it took effect: the repetition ends
// what was begun.
func TestAnAddressChangesWhateverFails(t *testing.T) {
	for n := range 3 {
		for _, lost := range []bool{false, true} {
			t.Run(fmt.Sprint(n, lost), func(t *testing.T) {
				f := setUp(t)
				ada := f.user("ada@example.com")
				f.ledger.appends = 0
				f.ledger.before = func(i int) {
					if i == n {
						f.ledger.refuse, f.ledger.loseAck = 1, 0
						if lost {
							f.ledger.refuse, f.ledger.loseAck = 0, 1
						}
					}
				}
				c := commands.UpdateUser{Request: commands.Request{By: domain.System, CommandID: "move", Fingerprint: "x"}, User: ada.ID, Email: new("countess@example.com")}
				for range 2 {
					if r, err := f.UpdateUser(t.Context(), c); err != nil || r.User.Email != "countess@example.com" {
						t.Fatalf("%+v, %v", r, err)
					}
				}
				if other := f.user("ada@example.com"); other.ID == ada.ID {
					t.Error("the old address is not free")
				}
			})
		}
	}
}

// Two owners leave at once: one stays.
func TestAnOwnerStaysWhoeverLeaves(t *testing.T) {
	f, store := setUp(t).withPeople()
	for range 5 {
		ada, bob := f.user(fmt.Sprint("ada", time.Now().UnixNano(), "@example.com")), f.user(fmt.Sprint("bob", time.Now().UnixNano(), "@example.com"))
		f.set(ada.ID, domain.RoleOwner)
		f.set(bob.ID, domain.RoleOwner)
		f.wait(store)
		var wg sync.WaitGroup
		errs := make([]error, 2)
		for i, u := range []domain.UserID{ada.ID, bob.ID} {
			wg.Go(func() {
				_, errs[i] = commands.New(f.ledger.Ledger, commands.Options{People: store}).RemoveMember(t.Context(), commands.RemoveMember{Request: by(domain.Principal{ID: string(u), User: u, Org: f.org}), Org: f.org, User: u})
			})
		}
		wg.Wait()
		if (errs[0] == nil) == (errs[1] == nil) || !errors.Is(errors.Join(errs...), domain.ErrLastOwner) {
			t.Fatal(errs)
		}
		f = f.anew()
	}
}

// anew is f with another organization.
func (f fixture) anew() fixture {
	f.t.Helper()
	o, err := f.CreateOrganization(f.t.Context(), commands.CreateOrganization{Request: by(domain.System), Name: "next"})
	if err != nil {
		f.t.Fatal(err)
	}
	f.org = o.Organization.ID
	return f
}

// A user who owns an organization alone is not removed, and loses nothing; any other leaves all at once.
func TestAUserIsRemovedFromAll(t *testing.T) {
	f, store := setUp(t).withPeople()
	ada, bob := f.user("ada@example.com"), f.user("bob@example.com")
	f.set(ada.ID, domain.RoleOwner)
	f.set(bob.ID, domain.RoleMember)
	owned := f.anew()
	owned.set(bob.ID, domain.RoleOwner)
	f.wait(store)
	remove := commands.RemoveUser{Request: by(domain.System), User: bob.ID}
	var refusal *domain.Error
	if _, err := f.RemoveUser(t.Context(), remove); !errors.As(err, &refusal) || !errors.Is(err, domain.ErrLastOwner) || !strings.Contains(refusal.Text, string(owned.org)) {
		t.Errorf("the last owner: %v", err)
	}
	f.wait(store)
	if _, err := store.Member(f.org, bob.ID); err != nil {
		t.Errorf("another membership ended: %v", err)
	}
	owned.set(ada.ID, domain.RoleOwner)
	f.wait(store)
	for range 2 {
		if r, err := f.RemoveUser(t.Context(), remove); err != nil || r.User.Status() != domain.RemovedUser {
			t.Fatalf("%+v, %v", r, err)
		}
		f.wait(store)
	}
	if orgs, err := store.OrganizationsOf(bob.ID); len(orgs) != 0 || err != nil {
		t.Errorf("%v, %v", orgs, err)
	}
	if f.user("bob@example.com").ID == bob.ID {
		t.Error("the address is not free")
	}
}

// A repeated request that its history would tell, and the index does not, answers the same.
func TestARepeatedRemovalIsFound(t *testing.T) {
	f, store := setUp(t).withPeople()
	ada, bob := f.user("ada@example.com"), f.user("bob@example.com")
	f.set(ada.ID, domain.RoleOwner)
	f.set(bob.ID, domain.RoleMember)
	c := commands.RemoveMember{Request: commands.Request{By: domain.System, CommandID: "out", Fingerprint: "x"}, Org: f.org, User: bob.ID}
	for i := range 3 {
		r, err := f.RemoveMember(t.Context(), c)
		if err != nil || r.Replayed != (i > 0) {
			t.Errorf("%d: %+v, %v", i, r, err)
		}
		f.wait(store)
		f.Handler = commands.New(f.ledger, commands.Options{People: store, Index: store})
	}
}

// A principal of the installation changes no user who may do more there.
func TestWhoManagesUsersIsNoOperator(t *testing.T) {
	f, store := setUp(t).withPeople()
	ada := f.user("ada@example.com")
	if _, err := f.SetMember(t.Context(), commands.SetMember{Request: by(domain.System), Org: domain.Installation, User: ada.ID, Role: domain.RoleOwner}); err != nil {
		t.Fatal(err)
	}
	f.wait(store)
	clerk := domain.Principal{ID: "clerk", Org: domain.Installation, Scopes: []string{"users:*", "members:*"}}
	for name, err := range map[string]error{
		"address": second(f.UpdateUser(t.Context(), commands.UpdateUser{Request: by(clerk), User: ada.ID, Email: new("clerk@example.com")})),
		"reset":   second(f.RequestPasswordReset(t.Context(), commands.RequestPasswordReset{Request: by(clerk), User: ada.ID})),
		"disable": second(f.DisableUser(t.Context(), commands.DisableUser{Request: by(clerk), User: ada.ID})),
		"remove":  second(f.RemoveUser(t.Context(), commands.RemoveUser{Request: by(clerk), User: ada.ID})),
	} {
		if !errors.Is(err, domain.ErrRoleEscalation) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := f.RemoveUser(t.Context(), commands.RemoveUser{Request: by(domain.System), User: ada.ID}); !errors.Is(err, domain.ErrLastOwner) {
		t.Errorf("the last operator: %v", err)
	}
}

func second[A any](_ A, err error) error { return err }

// An invitation is accepted once, by a user whom its address makes, whatever fails between.
func TestAnInvitationMakesOneMember(t *testing.T) {
	for n := range 3 {
		for _, lost := range []bool{false, true} {
			f, store := setUp(t).withPeople()
			f.set(f.user("ada@example.com").ID, domain.RoleOwner)
			i, err := f.CreateInvitation(t.Context(), commands.CreateInvitation{Request: by(domain.System), Org: f.org, Email: "eve@example.com", Role: domain.RoleMember})
			if err != nil || i.Token.Reveal() == "" {
				t.Fatalf("%+v, %v", i, err)
			}
			f.wait(store)
			f.ledger.appends = 0
			f.ledger.before = func(k int) {
				if k == n && lost {
					f.ledger.loseAck = 1
				} else if k == n {
					f.ledger.refuse = 1
				}
			}
			var users []domain.UserID
			for range 2 {
				r, err := f.AcceptInvitation(t.Context(), commands.AcceptInvitation{Token: i.Token})
				if err != nil {
					t.Fatal(n, lost, err)
				}
				users = append(users, r.User.ID)
				f.wait(store)
			}
			if m, err := store.Member(f.org, users[0]); users[0] != users[1] || err != nil || m.Role != domain.RoleMember {
				t.Errorf("%v, %+v, %v", users, m, err)
			}
		}
	}
}
