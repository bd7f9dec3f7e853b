package projections_test

import (
	"slices"
	"testing"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
	"github.com/keytrail/keytrail/projections"
)

// What another organization has, and what was never made, is not overwritten: the
// projection stops, and its row stays as it was.
func TestAProjectionStopsAtTheRecordOfAnotherOrganization(t *testing.T) {
	other := domain.NewOrgID("intruder")
	id := domain.NewKeyID("", "theirs")
	used := func(t *testing.T, l *eventstore.Ledger, org domain.OrgID) {
		var b eventstore.UseBatch
		b.Add(org, &domain.KeyUsed{Key: id, Code: domain.UseValid, At: noon}, 0)
		if _, err := l.AppendUses(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
	}
	event := func(ref eventstore.Ref, e domain.Event) func(*testing.T, *eventstore.Ledger) {
		return func(t *testing.T, l *eventstore.Ledger) {
			if _, err := l.Append(t.Context(), ref, 0, eventstore.Command{}, e); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		stream string
		write  func(*testing.T, *eventstore.Ledger)
	}{
		"created again": {"events", event(eventstore.KeyRef(other, id),
			domain.KeyCreated{ID: id, Org: other, Keyspace: "default", Settings: domain.Settings{Name: "mine"}, Digest: domain.NewSecret("mine").Digest(), Header: domain.Header{At: noon}})},
		"created for another": {"events", event(eventstore.KeyRef(other, domain.NewKeyID("", "new")),
			domain.KeyCreated{ID: domain.NewKeyID("", "new"), Org: domain.NewOrgID("org0"), Keyspace: "default", Settings: domain.Settings{Name: "mine"}, Header: domain.Header{At: noon}})},
		"revoked":       {"events", event(eventstore.KeyRef(other, id), domain.KeyRevoked{Reason: domain.Unspecified, Header: domain.Header{At: noon}})},
		"never created": {"events", event(eventstore.KeyRef(other, domain.NewKeyID("", "new")), domain.KeyDisabled{Header: domain.Header{At: noon}})},
		"organization":  {"events", event(eventstore.Ref{Org: other, Kind: "organization", ID: string(domain.NewOrgID("org0"))}, domain.OrganizationUpdated{Name: new("mine"), Header: domain.Header{At: noon}})},
		"used":          {"uses", func(t *testing.T, l *eventstore.Ledger) { used(t, l, other) }},
		"used in one message": {"uses", func(t *testing.T, l *eventstore.Ledger) {
			used(t, l, domain.NewOrgID("org0"))
			used(t, l, other)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			l := eventstoretest.New(t)
			h := newHistory(t, l)
			k := &projections.KeyRow{}
			k.ID, k.Org = id, h.orgs[0]
			h.append(k, domain.KeyCreated{ID: id, Org: k.Org, Keyspace: "default", Settings: domain.Settings{Name: "theirs"}, Digest: domain.NewSecret("theirs").Digest(), Header: domain.Header{At: noon}})
			used(t, l, k.Org)
			s, _ := run(t, t.TempDir(), l)
			before := dump(t, s)
			c.write(t, l)
			halted := func() bool {
				return slices.ContainsFunc(s.Status(), func(p projections.ProjectionStatus) bool { return p.Stream == c.stream && p.Halted != "" })
			}
			for begun := time.Now(); !halted(); {
				if time.Since(begun) > 10*time.Second {
					t.Fatal("it does not stop")
				}
			}
			if c.stream == "events" {
				same(t, "before and after it stopped", before, dump(t, s))
			}
			var row projections.Credential
			d := domain.NewSecret("theirs").Digest()
			if found, err := s.Credential(&d, domain.Only(k.Org), &row); err != nil || !found || row.Org != k.Org || row.State != domain.Active {
				t.Errorf("their key is %+v, %v, %v", row, found, err)
			}
		})
	}
}
