package domain

// A Reach is the set of organizations whose keys and events a principal or a question may
// see: all, or one. The zero Reach is none, so that a reach which was not set finds nothing.
type Reach struct {
	All bool
	Org OrgID // unless All
}

// All is the reach of the whole installation.
var All = Reach{All: true}

// Only is the reach of one organization.
func Only(org OrgID) Reach { return Reach{Org: org} }

// Includes reports whether r has what belongs to org.
func (r Reach) Includes(org OrgID) bool { return r.All || org != "" && r.Org == org }
