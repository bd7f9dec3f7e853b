package projections_test

import (
	"testing"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
	"github.com/keytrail/keytrail/projections"
)

// A keyspace is published with the snapshot of its event, found again after a restart, and
// opened to every shape of secret by an imported key.
func TestKeyspacesArePublished(t *testing.T) {
	l := eventstoretest.New(t)
	dir := t.TempDir()
	s, stop := run(t, dir, l)
	append := func(ref eventstore.Ref, after eventstore.Position, e domain.Event) eventstore.Position {
		t.Helper()
		p, err := l.Append(t.Context(), ref, after, eventstore.Command{}, e)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.WaitFor(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		return p
	}
	check := func(s *projections.Store, revision eventstore.Position, formats int, imported bool) {
		t.Helper()
		k, err := s.Keyspace("pingd")
		if err != nil || k.Revision != revision || len(k.Former)+1 != formats {
			t.Errorf("the keyspace is %+v, %v", k, err)
		}
		named, err := s.Keyspaces().Named("pingd")
		if err != nil || len(named.Former)+1 != formats {
			t.Errorf("the set has %+v, %v", named, err)
		}
		if s.Keyspaces().Possible("pingd", "what was imported") != imported || s.Keyspaces().Possible("default", "what was imported") {
			t.Error("whether an imported secret is possible")
		}
	}
	ref := eventstore.KeyspaceRef("pingd")
	definition := domain.KeyspaceDefinition{Format: domain.Format{Prefix: "pingd-", Alphabet: domain.Hex, Length: 32}}
	first := append(ref, 0, domain.KeyspaceDefined{Name: "pingd", Definition: definition, Header: domain.Header{At: noon}})
	check(s, first, 1, false)
	definition.Format.Length = 40
	second := append(ref, first, domain.KeyspaceUpdated{Name: "pingd", Definition: definition, Header: domain.Header{At: noon}})
	check(s, second, 2, false)
	id, org := domain.NewKeyID("", "k"), domain.NewOrgID("o")
	append(eventstore.KeyRef(org, id), 0, domain.KeyCreated{ID: id, Org: org, Keyspace: "pingd", Settings: domain.Settings{Name: "n"}, Imported: true, Header: domain.Header{At: noon}})
	check(s, second, 2, true)
	stop()
	again, stop := run(t, dir, l)
	defer stop()
	check(again, second, 2, true)
}
