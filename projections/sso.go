package projections

import (
	"encoding/json"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// rowSSO is the one kind of rows of the sso table: organization → revision, since when it has this provider, single sign-on. One that
// was removed has a row, too, for its revision.
const rowSSO = 's'

// An SSORow is the single sign-on of an organization. Revision is the position of its last event.
type SSORow struct {
	domain.SSO
	Revision eventstore.Position
	since    eventstore.Position // of the event that gave it this client of this provider
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
	since          eventstore.Position
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
		t.keep(&s)
		return err
	})
}

func (t *ssoTable) publishing(number uint64) {
	if t.store.ssoPolicies.Swap(t.policies) != t.policies {
		t.store.sessionsAt.Store(number)
	}
}

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
		before := s.SSODefinition
		if s.Apply(record.Event); !s.SameProvider(&before) {
			s.since = record.Position
		}
		t.keep(&s)
		if err := setJSON(r, ssoRow(record.Org), append(number(uint64(record.Position)), number(uint64(s.since))...), s.SSO); err != nil {
			return err
		}
	}
	return nil
}

// keep puts what sessions depend on into the next set that is published.
func (t *ssoTable) keep(s *SSORow) {
	t.policies = t.policies.without(s.Org.Bytes())
	if s.Exists() {
		t.policies = t.policies.with(s.Org.Bytes(), ssoPolicy{s.Issuer, s.ClientID, s.Enforced, s.since})
	}
}

func ssoRow(org domain.OrgID) []byte { b := org.Bytes(); return row(rowSSO, b[:]) }

func (s *SSORow) decode(v []byte) error {
	n, v := cutNumber(v)
	since, v := cutNumber(v)
	s.Revision, s.since = eventstore.Position(n), eventstore.Position(since)
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

// Admits reports whether a session that came by the provider with that issuer, "": by none, can begin
// in an organization. It takes no lock.
func (s *Store) Admits(org domain.OrgID, issuer string) bool {
	p, _ := s.ssoPolicies.Load().get(org.Bytes())
	return p.admits(issuer)
}

func (p *ssoPolicy) admits(issuer string) bool {
	d := domain.SSODefinition{Issuer: p.issuer, Enforced: p.enforced}
	return d.Admits(issuer)
}

// admitted reports whether the organization's single sign-on lets a session of the credential go on that
// began at a position: those of a provider, or a client of it, that the organization had before have
// ended, also when it has the same again.
func (s *Store) admitted(c *Credential, since eventstore.Position) bool {
	p, _ := s.ssoPolicies.Load().get(c.Org.Bytes())
	return p.admits(c.Issuer) && (c.Issuer == "" || since > p.since)
}

// SSOClient is the client by which an organization's provider knows this service, "" if it has none.
func (s *Store) SSOClient(org domain.OrgID) string {
	p, _ := s.ssoPolicies.Load().get(org.Bytes())
	return p.client
}

// SameProvider reports whether two organizations have the same client of the same provider: another
// client may be for other people.
func (s *Store) SameProvider(one, other domain.OrgID) bool {
	policies := s.ssoPolicies.Load()
	p, _ := policies.get(one.Bytes())
	o, _ := policies.get(other.Bytes())
	return p.issuer == o.issuer && p.client == o.client
}
