package projections_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
	"github.com/keytrail/keytrail/projections"
)

// A set of sinks is published with the snapshot of each event, and found again after a restart.
func TestSinksArePublished(t *testing.T) {
	l := eventstoretest.New(t)
	dir := t.TempDir()
	s, stop := run(t, dir, l)
	acme, globex := domain.NewOrgID("acme"), domain.NewOrgID("globex")
	append := func(org domain.OrgID, id domain.SinkID, after eventstore.Position, e domain.Event) eventstore.Position {
		t.Helper()
		p, err := l.Append(t.Context(), eventstore.SinkRef(org, id), after, eventstore.Command{}, e)
		if err == nil {
			err = s.WaitFor(t.Context(), p)
		}
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	create := func(org domain.OrgID, name string) (domain.SinkID, eventstore.Position) {
		id := domain.NewSinkID(org, name)
		return id, append(org, id, 0, domain.SinkCreated{ID: id, Org: org, Definition: domain.SinkDefinition{Name: name, Type: domain.SinkStream}, Sealed: []byte("sealed " + name), Header: domain.Header{At: noon}})
	}
	before := s.SinkSet()
	first, created := create(acme, "first")
	select {
	case <-before.Changed():
	default:
		t.Error("the old set does not tell that there is another")
	}
	second, _ := create(globex, "second")
	paused := append(acme, first, created, domain.SinkPaused{Reason: domain.PausedGone, Header: domain.Header{At: noon}})
	third, thirdAt := create(acme, "third")
	append(acme, third, thirdAt, domain.SinkDeleted{Header: domain.Header{At: noon}})

	check := func(s *projections.Store) {
		t.Helper()
		row, err := s.Sink(domain.Only(acme), first)
		if err != nil || row.Revision != paused || !row.Paused() || string(row.Sealed) != "sealed first" {
			t.Errorf("%+v, %v", row, err)
		}
		for id, reach := range map[domain.SinkID]domain.Reach{first: domain.Only(globex), second: {}, third: domain.All} {
			if _, err := s.Sink(reach, id); !errors.Is(err, domain.ErrSinkNotFound) {
				t.Errorf("%s within %+v: %v", id, reach, err)
			}
		}
		if org, err := s.SinkOrg(domain.All, third); err != nil || org != acme {
			t.Errorf("the deleted one was %s's, %v", org, err)
		}
		if _, err := s.SinkOrg(domain.Only(globex), third); !errors.Is(err, domain.ErrSinkNotFound) {
			t.Errorf("the deleted one for another: %v", err)
		}
		if got := s.SinkCounts(acme); got != (domain.SinkCounts{OfOrg: 1, StreamsOfOrg: 1, All: 2}) {
			t.Errorf("%+v", got)
		}
	}
	check(s)
	stop()
	again, stop := run(t, dir, l)
	defer stop()
	check(again)
}

func TestSinksAreListedByPages(t *testing.T) {
	l := eventstoretest.New(t)
	s, stop := run(t, t.TempDir(), l)
	defer stop()
	orgs := []domain.OrgID{domain.NewOrgID("acme"), domain.NewOrgID("globex")}
	var last eventstore.Position
	for i := range 9 { // three at each moment, the later ones first
		id := domain.NewSinkID(orgs[i%2], fmt.Sprint(i))
		p, err := l.Append(t.Context(), eventstore.SinkRef(orgs[i%2], id), 0, eventstore.Command{}, domain.SinkCreated{ID: id, Org: orgs[i%2], Header: domain.Header{At: noon.Add(-time.Duration(i/3) * time.Second)}})
		if err != nil {
			t.Fatal(err)
		}
		last = p
	}
	if err := s.WaitFor(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	for reach, want := range map[domain.Reach]int{domain.All: 9, domain.Only(orgs[0]): 5, domain.Only(orgs[1]): 4, {}: 0} {
		var all []projections.SinkRow
		for cursor := ""; ; {
			page, next, err := s.Sinks(reach, cursor, 2)
			if err != nil || len(page) > 2 {
				t.Fatal(len(page), err)
			}
			all = append(all, page...)
			if cursor = next; cursor == "" {
				break
			}
		}
		for i := range max(0, len(all)-1) {
			if all[i].CreatedAt.After(all[i+1].CreatedAt) {
				t.Error("not in the order of creation")
			}
		}
		if len(all) != want {
			t.Errorf("%+v has %d sinks", reach, len(all))
		}
	}
	if _, _, err := s.Sinks(domain.All, "x", 2); err == nil {
		t.Error("any text is a cursor")
	}
}
