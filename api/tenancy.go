package api

import (
	"context"
	"errors"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/projections"
)

// The boundary between tenants: whatever organization or key a request names becomes one
// within the caller's reach here, or is refused as if it did not exist.

// within is the organization that a request names; if it names none, the caller's own.
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

// reachOf is the reach of a listing: the organization that the request names; if it names
// none, all that the caller reaches.
func reachOf(p domain.Principal, named string) (domain.Reach, error) {
	if named == "" {
		return p.Reach(), nil
	}
	org, err := within(p, named)
	return domain.Only(org), err
}

// readableKey is the key that a request names. If the read model has none, a caller of the
// installation makes it catch up with the ledger first: another node may have made the key
// just now. Callers of one organization, of whom there may be many, do not: they have after.
func (s *server) readableKey(ctx context.Context, p domain.Principal, named string) (projections.KeyRow, error) {
	id, err := domain.ParseKeyID(named)
	if err != nil {
		return projections.KeyRow{}, err
	}
	k, err := s.Store.Key(p.Reach(), id)
	if !errors.Is(err, domain.ErrKeyNotFound) || !p.Reach().All {
		return k, err
	}
	if err := s.waitForEnd(ctx); err != nil {
		return projections.KeyRow{}, err
	}
	return s.Store.Key(p.Reach(), id)
}

// writableKey is the organization and the id by which a command addresses the key that a
// request names. The key of a caller of one organization is looked for there alone, on the
// ledger, so that a command does not depend on the read model.
func (s *server) writableKey(ctx context.Context, p domain.Principal, named string) (domain.OrgID, domain.KeyID, error) {
	if p.Reach().All {
		k, err := s.readableKey(ctx, p, named)
		return k.Org, k.ID, err
	}
	id, err := domain.ParseKeyID(named)
	return p.Org, id, err
}
