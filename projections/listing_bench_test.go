package projections_test

import (
	"fmt"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
	"github.com/keytrail/keytrail/projections"
)

// BenchmarkPage lists the newest 50 of 10,000 keys, of all keyspaces, of one, and of an
// organization that uses some, when there are two keyspaces and when there are two hundred: a
// listing walks an index of each keyspace and state that has keys.
func BenchmarkPage(b *testing.B) {
	for _, keyspaces := range []int{2, 200} {
		l := eventstoretest.New(b)
		fill(b, l, keyspaces, 10_000)
		s, _ := run(b, b.TempDir(), l)
		for name, q := range map[string]projections.KeyQuery{"all": {Reach: domain.All}, "one": {Reach: domain.All, Keyspace: "k1"}, "an organization's": {Reach: domain.Only(domain.NewOrgID("7"))}} {
			q.Sort, q.Now, q.Limit = "-created_at", noon.Add(time.Hour), 50
			b.Run(fmt.Sprintf("%s of %d keyspaces", name, keyspaces), func(b *testing.B) {
				for b.Loop() {
					page, err := s.Keys(q)
					if err != nil || len(page.Keys) != 50 {
						b.Fatal(len(page.Keys), err)
					}
				}
			})
		}
	}
}

// fill makes keyspaces, and so many keys in them.
func fill(b *testing.B, l *eventstore.Ledger, keyspaces, keys int) {
	var g errgroup.Group
	g.SetLimit(64)
	write := func(ref eventstore.Ref, e domain.Event) {
		g.Go(func() error { _, err := l.Append(b.Context(), ref, 0, eventstore.Command{}, e); return err })
	}
	at := func(i int) domain.Header { return domain.Header{At: noon.Add(time.Duration(i) * time.Millisecond)} }
	for i := range keyspaces {
		name := fmt.Sprint("k", i)
		f := domain.Format{Prefix: name + "_", Alphabet: domain.Base62, Length: 32}
		write(eventstore.KeyspaceRef(name), domain.KeyspaceDefined{Name: name, Definition: domain.KeyspaceDefinition{Format: f}, Header: at(i)})
	}
	for i := range keys {
		id, org := domain.NewKeyID("", fmt.Sprint(i)), domain.NewOrgID(fmt.Sprint(i%50))
		write(eventstore.KeyRef(org, id), domain.KeyCreated{ID: id, Org: org, Keyspace: fmt.Sprint("k", i%keyspaces), Settings: domain.Settings{Name: "n"},
			Digest: domain.NewSecret(string(id)).Digest(), Prefix: "k", Header: at(keyspaces + i)})
	}
	if err := g.Wait(); err != nil {
		b.Fatal(err)
	}
}
