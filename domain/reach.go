package domain

// A Reach is whose things a question is about: every organization's, or those of one. The
// zero Reach is of none, so that a reach which somebody forgot to set finds nothing.
type Reach struct {
	All bool
	Org OrgID // unless All
}

// All is the reach of the whole installation.
var All = Reach{All: true}

// Only is the reach of one organization.
func Only(org OrgID) Reach { return Reach{Org: org} }

// Includes tells whether r has what belongs to org.
func (r Reach) Includes(org OrgID) bool { return r.All || org != "" && r.Org == org }
