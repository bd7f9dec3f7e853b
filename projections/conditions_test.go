package projections_test

import (
	"fmt"
	"maps"
	"testing"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
	"github.com/keytrail/keytrail/projections"
)

// A standing is what a history has made of an organization or an owner.
type standing struct {
	suspended  bool
	attributes domain.Attributes
	revision   eventstore.Position
}

// required are the attributes that a history sets, and a requirement of each.
var required = []domain.Requirement{{Attribute: "a0"}, {Attribute: "a1", Of: "organization"}, {Attribute: "a1"}, {Attribute: "a0", Of: "organization"}}

// someAttributes are some of those, some of them empty.
func (h *history) someAttributes() domain.Attributes {
	all := domain.Attributes{}
	for i := range h.rand.IntN(3) {
		all[fmt.Sprint("a", i)] = []string{"", "x", "é\"<>"}[h.rand.IntN(3)]
	}
	return all
}

// changeOrganization suspends or resumes one of few organizations, or gives it attributes.
func (h *history) changeOrganization() {
	org := h.orgs[h.rand.IntN(4)]
	s := h.organizations[org]
	var e domain.Event
	switch header := (domain.Header{At: h.now()}); {
	case h.rand.IntN(2) == 0:
		s.attributes = h.someAttributes()
		e = domain.OrganizationUpdated{Attributes: &s.attributes, Header: header}
	case s.suspended:
		e, s.suspended = domain.OrganizationResumed{Header: header}, false
	default:
		e, s.suspended = domain.OrganizationSuspended{Reason: "unpaid", Header: header}, true
	}
	s.revision = h.write(eventstore.OrganizationRef(org), s.revision, e)
	h.organizations[org] = s
}

// changeOwner gives one of few owners attributes.
func (h *history) changeOwner() {
	at := [2]string{string(h.orgs[h.rand.IntN(2)]), fmt.Sprint("owner", h.rand.IntN(6))}
	s := h.owners[at]
	s.attributes = h.someAttributes()
	s.revision = h.write(eventstore.OwnerRef(domain.OrgID(at[0]), at[1]), s.revision, domain.OwnerUpdated{Owner: at[1], Attributes: s.attributes, Header: domain.Header{At: h.now()}})
	h.owners[at] = s
}

func (h *history) write(ref eventstore.Ref, after eventstore.Position, e domain.Event) eventstore.Position {
	p, err := h.ledger.Append(h.t.Context(), ref, after, eventstore.Command{}, e)
	if err != nil {
		h.t.Fatal(err)
	}
	return p
}

// unmet is the requirement that decides, in the plainest way.
func (h *history) unmet(org domain.OrgID, owner string) int {
	for i, r := range required {
		attributes := h.owners[[2]string{string(org), owner}].attributes
		if r.OfOrganization() {
			attributes = h.organizations[org].attributes
		}
		if attributes[r.Attribute] == "" {
			return i
		}
	}
	return -1
}

// checkConditions compares what the read model says of organizations and owners.
func (h *history) checkConditions(s *projections.Store) {
	h.t.Helper()
	for _, org := range h.orgs[:4] {
		want := h.organizations[org]
		o, err := s.Organization(org)
		if err != nil || s.Suspended(org) != want.suspended || o.Suspended() != want.suspended || !maps.Equal(o.Attributes, want.attributes) || o.Revision != want.revision {
			h.t.Errorf("%s is %+v, %t, %v; want %+v", org, o, s.Suspended(org), err, want)
		}
		for i := range 6 {
			owner := fmt.Sprint("owner", i)
			want := h.owners[[2]string{string(org), owner}]
			o, err := s.Owner(org, owner)
			if err != nil || !maps.Equal(o.Attributes, want.attributes) || o.Revision != want.revision {
				h.t.Errorf("%s of %s is %+v, %v; want %+v", owner, org, o, err, want)
			}
			c := projections.Credential{Credential: domain.Credential{Org: org}, Owner: owner}
			if unmet, err := s.Unmet(&c, required); err != nil || unmet != h.unmet(org, owner) {
				h.t.Errorf("%s of %s does not meet %d, %v; want %d", owner, org, unmet, err, h.unmet(org, owner))
			}
		}
	}
}

// What a history says of organizations and owners is in force with the position of the last
// event, in the caches and in a read model that is opened again.
func TestConditionsAreThoseOfTheLastEvent(t *testing.T) {
	l := eventstoretest.New(t)
	h := newHistory(t, l)
	dir := t.TempDir()
	s, stop := run(t, dir, l)
	for i := range 200 {
		h.changeOrganization()
		h.changeOwner()
		catchUp(t, s, l)
		h.checkConditions(s)
		if i%50 == 49 {
			stop()
			s, stop = run(t, dir, l)
			h.checkConditions(s)
		}
	}
}

// An event that is of an owner in one organization, and lies under the name of another, is not
// applied.
func TestAnOwnersEventLiesUnderItsName(t *testing.T) {
	l := eventstoretest.New(t)
	s, _ := run(t, t.TempDir(), l)
	ref := eventstore.OwnerRef(domain.NewOrgID("acme"), "user")
	ref.Org = domain.NewOrgID("other")
	p, err := l.Append(t.Context(), ref, 0, eventstore.Command{}, domain.OwnerUpdated{Owner: "user", Attributes: domain.Attributes{"a": "b"}, Header: domain.Header{At: noon}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.WaitFor(t.Context(), p); err == nil {
		t.Error("it is applied")
	}
}
