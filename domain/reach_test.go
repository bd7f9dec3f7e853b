package domain_test

import (
	"testing"

	. "github.com/keytrail/keytrail/domain"
)

// A reach that was forgotten must find nothing: this is the boundary between tenants.
func TestAReachIncludesWhatItNamesAlone(t *testing.T) {
	acme, other := NewOrgID("acme"), NewOrgID("other")
	for reach, want := range map[Reach][3]bool{ // acme's, the other's, what belongs to none
		{}:                             {false, false, false},
		Only(acme):                     {true, false, false},
		Only(""):                       {false, false, false},
		All:                            {true, true, true},
		(Principal{Org: acme}).Reach(): {true, false, false},
		(Principal{}).Reach():          {false, false, false},
		System.Reach():                 {true, true, true},
		Only(Installation):             {false, false, false},
	} {
		if got := [3]bool{reach.Includes(acme), reach.Includes(other), reach.Includes("")}; got != want {
			t.Errorf("%+v includes %v, want %v", reach, got, want)
		}
	}
}
