package domain

import (
	"errors"
	"fmt"
	"reflect"
	"testing"
)

func TestOrganization(t *testing.T) {
	acme := NewOrgID("acme")
	root, admin, stranger := Principal{ID: "root", Org: Installation}, Principal{ID: "admin", Org: acme}, Principal{ID: "stranger", Org: NewOrgID("other")}
	created := OrganizationCreated{ID: acme, Name: "acme"}
	pro := OrganizationUpdated{Attributes: &Attributes{"plan": "pro", "seats": "5"}}
	suspended, resumed := OrganizationSuspended{Reason: "unpaid"}, OrganizationResumed{}
	update := func(by Principal, name *string, c AttributeChanges) func(Organization) (Event, error) {
		return func(o Organization) (Event, error) {
			return o.Update(UpdateOrganization{Name: name, Attributes: c, By: by})
		}
	}
	merge := func(values map[string]*string) AttributeChanges { return AttributeChanges{Values: values} }
	suspend := func(by Principal) func(Organization) (Event, error) {
		return func(o Organization) (Event, error) { return o.Suspend(SuspendOrganization{Reason: "unpaid", By: by}) }
	}
	resume := func(by Principal) func(Organization) (Event, error) {
		return func(o Organization) (Event, error) { return o.Resume(ResumeOrganization{By: by}) }
	}
	plan := func(by Principal, name string) func(Organization) (Event, error) {
		plans := Plans{"pro": {Name: "pro"}, "old": {Name: "old", RetiredAt: noon}}
		return func(o Organization) (Event, error) {
			return o.Update(UpdateOrganization{Plan: &name, Plans: plans, By: by})
		}
	}
	onPro, onOld := OrganizationUpdated{Plan: new("pro")}, OrganizationUpdated{Plan: new("old")}
	many := map[string]*string{}
	for i := range maxAttributes {
		many[fmt.Sprint("a", i)] = new("")
	}
	for name, c := range map[string]struct {
		given []Event
		when  func(Organization) (Event, error)
		then  Event
		err   error
	}{
		"renaming":                             {given: []Event{created}, when: update(admin, new("Acme"), AttributeChanges{}), then: OrganizationUpdated{Name: new("Acme"), Header: Header{By: "admin"}}},
		"the name that it has is no news":      {given: []Event{created}, when: update(admin, new("acme"), AttributeChanges{})},
		"attributes are merged":                {given: []Event{created, pro}, when: update(root, nil, merge(map[string]*string{"seats": nil, "vat": new("1")})), then: OrganizationUpdated{Attributes: &Attributes{"plan": "pro", "vat": "1"}, Header: Header{By: "root"}}},
		"the same attributes are no news":      {given: []Event{created, pro}, when: update(root, nil, merge(map[string]*string{"plan": new("pro"), "gone": nil}))},
		"attributes are replaced":              {given: []Event{created, pro}, when: update(root, nil, AttributeChanges{Values: map[string]*string{"vat": new("1")}, Replace: true}), then: OrganizationUpdated{Attributes: &Attributes{"vat": "1"}, Header: Header{By: "root"}}},
		"replacing by none takes all away":     {given: []Event{created, pro}, when: update(root, nil, AttributeChanges{Replace: true}), then: OrganizationUpdated{Attributes: &Attributes{}, Header: Header{By: "root"}}},
		"replacing none by none is no news":    {given: []Event{created}, when: update(root, nil, AttributeChanges{Replace: true})},
		"as many attributes as there may be":   {given: []Event{created}, when: update(root, nil, merge(many)), then: OrganizationUpdated{Attributes: values(many), Header: Header{By: "root"}}},
		"one attribute too many":               {given: []Event{created, pro}, when: update(root, nil, merge(many)), err: InvalidField("attributes", "must have at most 50 entries")},
		"attributes of its own":                {given: []Event{created}, when: update(admin, nil, merge(map[string]*string{"vat": new("1")})), err: ErrInstallationOnly},
		"a stranger's change":                  {given: []Event{created}, when: update(stranger, new("mine"), AttributeChanges{}), err: ErrOrganizationNotFound},
		"a change of what is not there":        {when: update(root, new("x"), AttributeChanges{}), err: ErrOrganizationNotFound},
		"a plan":                               {given: []Event{created}, when: plan(root, "pro"), then: OrganizationUpdated{Plan: new("pro"), Header: Header{By: "root"}}},
		"the plan that it has is no news":      {given: []Event{created, onPro}, when: plan(root, "pro")},
		"a plan that was retired since":        {given: []Event{created, onOld}, when: plan(root, "old")},
		"no plan any more":                     {given: []Event{created, onPro}, when: plan(root, ""), then: OrganizationUpdated{Plan: new(""), Header: Header{By: "root"}}},
		"a plan that there is not":             {given: []Event{created}, when: plan(root, "gold"), err: ErrPlanNotFound},
		"a retired plan":                       {given: []Event{created}, when: plan(root, "old"), err: ErrPlanRetired},
		"a plan of its own choice":             {given: []Event{created}, when: plan(admin, "pro"), err: ErrInstallationOnly},
		"a stranger's plan":                    {given: []Event{created}, when: plan(stranger, "pro"), err: ErrOrganizationNotFound},
		"suspending":                           {given: []Event{created}, when: suspend(root), then: OrganizationSuspended{Reason: "unpaid", Header: Header{By: "root"}}},
		"suspending twice is news once":        {given: []Event{created, OrganizationSuspended{Header: Header{At: noon}}}, when: suspend(root)},
		"suspending again after it is resumed": {given: []Event{created, suspended, resumed}, when: suspend(root), then: OrganizationSuspended{Reason: "unpaid", Header: Header{By: "root"}}},
		"suspending oneself":                   {given: []Event{created}, when: suspend(admin), err: ErrOutOfReach},
		"suspending what is not there":         {when: suspend(root), err: ErrOrganizationNotFound},
		"resuming":                             {given: []Event{created, OrganizationSuspended{Header: Header{At: noon}}}, when: resume(root), then: OrganizationResumed{Header{By: "root"}}},
		"resuming what is not suspended":       {given: []Event{created}, when: resume(root)},
		"resuming oneself":                     {given: []Event{created, suspended}, when: resume(admin), err: ErrOutOfReach},
	} {
		t.Run(name, func(t *testing.T) {
			var o Organization
			for _, e := range c.given {
				o.Apply(e)
			}
			then, err := c.when(o)
			if !reflect.DeepEqual(then, c.then) || !errors.Is(err, c.err) && fmt.Sprint(err) != fmt.Sprint(c.err) {
				t.Errorf("then %+v, %v; want %+v, %v", then, err, c.then, c.err)
			}
		})
	}
}

func values(c map[string]*string) *Attributes {
	a := Attributes{}
	for name, value := range c {
		a[name] = *value
	}
	return &a
}

// An owner's id follows from its organization and its name, whatever characters that has, and is
// safe in a subject.
func TestOwnerIDs(t *testing.T) {
	seen := map[OwnerID]bool{}
	for _, org := range []OrgID{NewOrgID("a"), NewOrgID("b"), Installation} {
		for _, owner := range []string{"", "u", "u.1", "*", ">", "a b", "é\x00/", "org_", string(org)} {
			id := NewOwnerID(org, owner)
			if _, ok := parseID(ownerPrefix, string(id)); !ok || seen[id] || id.Bytes() != OwnerBytes(org, owner) {
				t.Errorf("%q of %s is %s", owner, org, id)
			}
			seen[id] = true
		}
	}
}
