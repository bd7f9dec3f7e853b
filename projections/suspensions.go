package projections

import "github.com/keytrail/keytrail/domain"

// Suspended reports whether an organization is suspended. It takes no lock.
func (s *Store) Suspended(org domain.OrgID) bool {
	_, suspended := s.suspended.Load().get(org.Bytes())
	return suspended
}

// OrgSuspended reports whether that of a credential is, without spelling its id.
func (s *Store) OrgSuspended(c *Credential) bool {
	_, suspended := s.suspended.Load().get(c.OrgBytes())
	return suspended
}
