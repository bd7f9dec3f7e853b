package commands

import "github.com/keytrail/keytrail/domain"

// A PlanIndex has the plans of the installation, and of each organization. The read model does.
// Another node may know of a change some milliseconds earlier.
type PlanIndex interface {
	Plans() domain.Plans
	// Plan is that of an organization; nil: it has none.
	Plan(domain.OrgID) *domain.Plan
}

// noPlans is the index of a handler without one.
type noPlans struct{}

func (noPlans) Plans() domain.Plans            { return nil }
func (noPlans) Plan(domain.OrgID) *domain.Plan { return nil }
