package projections

import (
	"encoding/json"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// rowSSO is the one kind of rows of the sso table: organization → revision, single sign-on. One that
// was removed has a row, too, for its revision.
const rowSSO = 's'

// An SSORow is the single sign-on of an organization. Revision is the position of its last event.
type SSORow struct {
	domain.SSO
	Revision eventstore.Position
}

// An ssoTable writes the rows of single sign-on, and gives the store what sessions depend on of all of
// them when they are published.
type ssoTable struct {
	directTable
	store    *Store
	policies *orgMap[ssoPolicy]
}

// An ssoPolicy is which sessions are good in an organization.
type ssoPolicy struct {
	issuer, client string
	enforced       bool
}

func newSSOTable(s *Store, state tableState) table {
	t := &ssoTable{directTable{tableState: state}, s, new(orgMap[ssoPolicy])}
	t.write = t.writeSSO
	return t
}

func (t *ssoTable) resume(r rows, e catalogEntry) error {
	if err := t.directTable.resume(r, e); err != nil {
		return err
	}
	return r.each([]byte{rowSSO}, func(_, value []byte) error {
		var s SSORow
		err := s.decode(value)
		t.keep(&s.SSO)
		return err
	})
}

func (t *ssoTable) publishing(uint64) { t.store.ssoPolicies.Store(t.policies) }

func (t *ssoTable) writeSSO(r rowMap, b eventstore.Batch) error {
	for i := range b.Records {
		record := &b.Records[i]
		switch record.Event.(type) {
		case domain.SSOConfigured, domain.SSOUpdated, domain.SSORemoved:
		default:
			continue
		}
		s, err := loadSSO(r, record.Org)
		if err != nil {
			return err
		}
		s.Apply(record.Event)
		t.keep(&s.SSO)
		if err := setJSON(r, ssoRow(record.Org), number(uint64(record.Position)), s.SSO); err != nil {
			return err
		}
	}
	return nil
}

// keep puts what sessions depend on into the next set that is published.
func (t *ssoTable) keep(s *domain.SSO) {
	t.policies = t.policies.without(s.Org.Bytes())
	if s.Exists() {
		t.policies = t.policies.with(s.Org.Bytes(), ssoPolicy{s.Issuer, s.ClientID, s.Enforced})
	}
}

func ssoRow(org domain.OrgID) []byte { b := org.Bytes(); return row(rowSSO, b[:]) }

func (s *SSORow) decode(v []byte) error {
	n, v := cutNumber(v)
	s.Revision = eventstore.Position(n)
	return json.Unmarshal(v, &s.SSO)
}

// loadSSO gives the zero SSO if an organization never had one.
func loadSSO(r rowMap, org domain.OrgID) (s SSORow, err error) {
	s.Org = org
	_, err = r.get(ssoRow(org), s.decode)
	return s, err
}

// SSO is the single sign-on of an organization; domain.ErrSSONotFound.
func (s *Store) SSO(org domain.OrgID) (found SSORow, err error) {
	err = s.sso.read(func(r rows) (err error) {
		found, err = loadSSO(r, org)
		return err
	})
	if err == nil && !found.Exists() {
		err = domain.ErrSSONotFound
	}
	return found, err
}

// Admits reports whether a session that came by the provider with that issuer, "": by none, is good in
// an organization. It takes no lock.
func (s *Store) Admits(org domain.OrgID, issuer string) bool {
	p, _ := s.ssoPolicies.Load().get(org.Bytes())
	d := domain.SSODefinition{Issuer: p.issuer, Enforced: p.enforced}
	return d.Admits(issuer)
}

// SameProvider reports whether two organizations have the same client of the same provider: another
// client may be for other people.
func (s *Store) SameProvider(one, other domain.OrgID) bool {
	policies := s.ssoPolicies.Load()
	p, _ := policies.get(one.Bytes())
	o, _ := policies.get(other.Bytes())
	return p.issuer == o.issuer && p.client == o.client
}
