package api

import (
	"context"
	"errors"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/projections"
)

// reachOf is what a listing is about: all that the caller reaches, or the organization that
// is named.
func reachOf(p domain.Principal, named string) (domain.Reach, error) {
	if named == "" {
		return p.Reach(), nil
	}
	org, err := within(p, named)
	return domain.Only(org), err
}

// within is the organization that a request is about: the caller's own, or for a caller
// who serves the installation the one that is named. Another one than the caller's own
// looks as if it did not exist.
func within(p domain.Principal, named string) (domain.OrgID, error) {
	if named == "" {
		return p.Org, nil
	}
	org, err := domain.ParseOrgID(named)
	if err != nil {
		return "", err
	}
	if !p.Reaches(org) {
		return "", domain.ErrOrganizationNotFound
	}
	return org, nil
}

// reachable is the organization that a path names, if the caller may see it.
func (s *server) reachable(p domain.Principal, text string) (domain.OrgID, error) {
	id, err := domain.ParseOrgID(text)
	if err == nil && !p.Reaches(id) {
		err = domain.ErrOrganizationNotFound
	}
	return id, err
}

// find is the key's id and organization. A caller bound to an organization needs no read
// model for that; to it, another one's key does not exist.
func (s *server) find(ctx context.Context, p domain.Principal, text string) (domain.OrgID, domain.KeyID, error) {
	id, err := domain.ParseKeyID(text)
	if err != nil {
		return "", "", err
	}
	if !p.Reach().All {
		return p.Org, id, nil
	}
	k, err := s.key(ctx, p, id)
	return k.Org, id, err
}

// key reads a key within the caller's reach. If the read model has none, a caller who
// serves the installation makes it catch up with the ledger first: another node may have
// made the key just now. Callers of one organization, of whom there may be many, do not:
// they have after.
func (s *server) key(ctx context.Context, p domain.Principal, id domain.KeyID) (projections.KeyRow, error) {
	k, err := s.Store.Key(id)
	if errors.Is(err, domain.ErrKeyNotFound) && p.Reach().All {
		if err = s.atEnd(ctx); err == nil {
			k, err = s.Store.Key(id)
		}
	}
	if err == nil && !p.Reaches(k.Org) {
		err = domain.ErrKeyNotFound
	}
	return k, err
}
