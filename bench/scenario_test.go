package main

import (
	"slices"
	"testing"

	"github.com/keytrail/keytrail/domain"
)

// names are of the scenarios that a run with arguments measures, without what others build on.
func names(arguments ...string) (all []string) {
	o := parse(arguments)
	for _, p := range o.plans() {
		for _, s := range o.chosen(p) {
			if !s.always {
				all = append(all, s.name)
			}
		}
	}
	return slices.Compact(all)
}

func TestScenariosAreChosenByTheirNames(t *testing.T) {
	if got := names("-only", "bulk,organizations", "-sizes", "10,20"); !slices.Equal(got, []string{"bulk", "organizations"}) {
		t.Errorf("-only chooses %v", got)
	}
	if got := names("-followers", "1"); !slices.Equal(got, []string{"followers"}) {
		t.Errorf("-followers chooses %v", got)
	}
	if got := names(); slices.Contains(got, "followers") || !slices.Contains(got, "bulk") {
		t.Errorf("without options there are %v", got)
	}
	if o := parse(nil); o.known("setup") || o.known("x") || !o.known("writes") {
		t.Error("a name of no scenario is known, or the other way round")
	}
}

func TestEachKeyOfASourceIsOfItsOrganizations(t *testing.T) {
	p := population{Orgs: []domain.OrgID{"a", "b", "c"}, First: 10}
	for _, m := range []mix{mixOne, mixMany, mixUneven} {
		connections := 0
		for i, s := range m.sources(20, 10) {
			connections += s.Connections
			one := m != mixMany && i == 0
			for k := s.From; k < s.From+s.Keys; k++ {
				if (p.orgOf(k) == "a") != one {
					t.Errorf("%s: key %d of source %d is of %s", m, k, i, p.orgOf(k))
				}
			}
		}
		if connections != 20 {
			t.Errorf("%s has %d connections", m, connections)
		}
	}
}
