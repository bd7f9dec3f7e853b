package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// reacts reports whether a process holds the lease of reactions.
func (r *running) reacts(t testing.TB) bool {
	t.Helper()
	res, err := web.Get(r.url + "/metrics")
	if err != nil {
		return false // it was killed
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return err == nil && strings.Contains(string(text), "\nkeytrail_reactions_leader 1\n")
}

// TestOneKeyForEachRegistration: the process that issues keys is killed again and again while people
// register, and come to be members and cease to be. Each has one key in each keyspace that issues
// them, and who has left has none that is good.
func TestOneKeyForEachRegistration(t *testing.T) {
	t.Parallel() // it waits more than it computes
	for _, nodes := range []int{1, 3} {
		t.Run(fmt.Sprint(nodes, " nodes"), func(t *testing.T) {
			t.Parallel()
			_, urls := natsCluster(t, nodes)
			args := []string{"--nats-url", urls, "--replicas", strconv.Itoa(nodes)}
			all := []*running{launch(t, t.TempDir(), args...)}
			args = append(args, "--root-key-file", filepath.Join(all[0].data, "root.key"), "--keyring", filepath.Join(all[0].data, "keyring"))
			for len(all) < nodes {
				all = append(all, launch(t, t.TempDir(), args...))
			}
			org := all[0].newOrg(t)
			for name, more := range map[string]map[string]any{
				"pilot":  {"issue": map[string]any{"on": "user", "organization": org}, "recoverable": true},
				"single": {"issue": map[string]any{"on": "user", "organization": org}, "bounds": map[string]any{"one_key_per_owner": true}},
				"ward":   {"issue": map[string]any{"on": "membership"}},
			} {
				more["name"], more["format"] = name, map[string]any{"prefix": name + "_", "alphabet": "base36", "length": 32}
				all[0].call(t, "POST", "/v1/keyspaces", more, nil)
			}
			ledger := ledgerOn(t, urls, nodes)
			const rounds, people = 2, 500
			left := map[string]bool{}
			for round := range rounds {
				var registering errgroup.Group
				registering.Go(func() error {
					return register(t, ledger, domain.OrgID(org), round*people, people, left)
				})
				timer := time.NewTimer(time.Duration(100+rand.IntN(900)) * time.Millisecond)
				<-timer.C
				holder := 0
				until(t, "one process reacts", func() bool {
					for i, r := range all {
						if r.reacts(t) {
							holder = i
							return true
						}
					}
					return false
				})
				all[holder].end(t, syscall.SIGKILL)
				if err := registering.Wait(); err != nil {
					t.Fatal(err)
				}
				all[holder] = launch(t, all[holder].data, args...)
			}
			var s domain.ReactionStatus
			until(t, "all has been reacted to", func() bool {
				all[0].call(t, "GET", "/v1/reactions", nil, &s)
				return s.LagEvents == 0
			})
			t.Logf("%+v", s)
			checkIssued(t, ledger, rounds*people, left)
		})
	}
}

// ledgerOn is the ledger of some servers.
func ledgerOn(t *testing.T, urls string, replicas int) *eventstore.Ledger {
	t.Helper()
	nc, err := eventstore.Connect(eventstore.ConnectOptions{URL: urls}, discard())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	l, err := eventstore.Open(t.Context(), nc, eventstore.Options{Replicas: replicas, Existing: true})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// register writes that people register and become members of an organization. Each tenth leaves again.
func register(t *testing.T, l *eventstore.Ledger, org domain.OrgID, from, n int, left map[string]bool) error {
	members, err := l.Last(t.Context(), eventstore.MembersRef(org))
	header := domain.Header{At: time.Now(), By: "system"}
	happens := func(e domain.Event) {
		if err == nil {
			members, err = l.Append(t.Context(), eventstore.MembersRef(org), members, eventstore.Command{}, e)
		}
	}
	for i := from; i < from+n && err == nil; i++ {
		id := domain.NewUserID(fmt.Sprint("person ", i))
		if _, err = l.Append(t.Context(), eventstore.UserRef(id), 0, eventstore.Command{}, domain.UserCreated{ID: id, Email: fmt.Sprintf("p%d@example.com", i), Header: header}); err != nil {
			return err
		}
		happens(domain.MembershipCreated{User: id, Role: domain.RoleMember, Header: header})
		if i%10 == 0 {
			happens(domain.MembershipRemoved{User: id, Role: domain.RoleMember, Header: header})
			left[string(id)] = true
		}
	}
	return err
}

// checkIssued reads the whole ledger.
func checkIssued(t *testing.T, l *eventstore.Ledger, people int, left map[string]bool) {
	t.Helper()
	made, good := map[string]int{}, map[string]int{} // by owner and keyspace, by owner
	owners := map[string]string{}                    // by key
	err := l.Read(t.Context(), eventstore.Query{Stream: eventstore.Events, Reach: domain.All}, func(b eventstore.Batch) error {
		for _, r := range b.Records {
			switch e := r.Event.(type) {
			case domain.KeyCreated:
				if e.Owner != "" {
					made[e.Owner+" "+e.Keyspace]++
					good[e.Owner]++
					owners[r.Subject] = e.Owner
				}
			case domain.KeyRevoked:
				good[owners[r.Subject]]--
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for what, n := range made {
		if n != 1 {
			t.Errorf("%s was issued %d times", what, n)
		}
	}
	for i := range people {
		owner := string(domain.NewUserID(fmt.Sprint("person ", i)))
		if made[owner+" pilot"] != 1 || made[owner+" single"] != 1 || !left[owner] && (made[owner+" ward"] != 1 || good[owner] != 3) {
			t.Errorf("person %d has %d good keys", i, good[owner])
		}
		if left[owner] && good[owner] != 0 {
			t.Errorf("person %d has left, and has %d good keys", i, good[owner])
		}
	}
}
