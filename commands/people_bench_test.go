package commands_test

import (
	"fmt"
	"testing"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
	"github.com/keytrail/keytrail/projections"
)

// BenchmarkSetMember gives a member of an organization of 10, or 10,000, another role: what it takes must
// not grow with the members.
func BenchmarkSetMember(b *testing.B) {
	for _, members := range []int{10, 10_000} {
		b.Run(fmt.Sprint(members), func(b *testing.B) {
			l := eventstoretest.New(b)
			store, err := projections.Open(b.TempDir(), projections.Options{})
			if err != nil {
				b.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- store.Run(b.Context(), l) }()
			b.Cleanup(func() { <-done; _ = store.Close() })
			h := commands.New(l, commands.Options{People: store, Index: store})
			o, err := h.CreateOrganization(b.Context(), commands.CreateOrganization{Request: by(domain.System), Name: "acme"})
			if err != nil {
				b.Fatal(err)
			}
			org := o.Organization.ID
			var at eventstore.Position
			for i := range members {
				e := domain.MembershipCreated{User: domain.NewUserID(fmt.Sprint(i)), Role: domain.RoleOwner}
				if at, err = l.Append(b.Context(), eventstore.MembersRef(org), at, eventstore.Command{}, e); err != nil {
					b.Fatal(err)
				}
			}
			if err := store.WaitFor(b.Context(), at); err != nil {
				b.Fatal(err)
			}
			for i := 0; b.Loop(); i++ {
				c := commands.SetMember{Request: by(domain.System), Org: org, User: domain.NewUserID(fmt.Sprint(i % 5)), Role: []string{domain.RoleAdmin, domain.RoleMember}[i/5%2]}
				if _, err := h.SetMember(b.Context(), c); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commands/s")
		})
	}
}
