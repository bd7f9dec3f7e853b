package scim

import (
	"encoding/json"
	"strings"

	"github.com/scim2/filter-parser/v2"
)

// A Group is a group resource.
type Group struct {
	ID          string
	ExternalID  string
	DisplayName string
	Members     []Reference
	Meta        Meta
}

type groupJSON struct {
	Schemas     []string    `json:"schemas"`
	ID          string      `json:"id"`
	ExternalID  string      `json:"externalId,omitempty"`
	DisplayName string      `json:"displayName"`
	Members     []Reference `json:"members,omitempty"`
	Meta        *Meta       `json:"meta,omitempty"`
}

// MarshalJSON writes the resource.
func (g *Group) MarshalJSON() ([]byte, error) {
	return json.Marshal(groupJSON{[]string{groupSchema}, g.ID, g.ExternalID, g.DisplayName, g.Members, &g.Meta})
}

// MaxMembers bounds the members that one request names.
const MaxMembers = 10_000

// ParseGroup reads a group resource that a directory sends, as the change that makes a group so.
func ParseGroup(body []byte) (GroupChange, error) {
	var j groupJSON
	if err := json.Unmarshal(body, &j); err != nil {
		return GroupChange{}, bad(InvalidSyntax, "the body must be a group resource of SCIM 2.0")
	}
	name := strings.TrimSpace(j.DisplayName)
	c := GroupChange{DisplayName: &name, ExternalID: &j.ExternalID, Cleared: true}
	c.add(j.Members)
	return c, c.check()
}

// A GroupChange is what one request changes of a group.
type GroupChange struct {
	DisplayName *string // nil: it stays
	ExternalID  *string
	Cleared     bool            // of all members none stays but those in Members
	Members     map[string]bool // by id: whether the user is to be a member
}

// ParseGroupPatch is what the operations of a PATCH come to, in their order.
func ParseGroupPatch(operations []Operation) (c GroupChange, err error) {
	for _, o := range operations {
		if err := o.each(groupSchema, c.set); err != nil {
			return c, err
		}
	}
	return c, c.check()
}

func (c *GroupChange) check() error {
	switch {
	case c.DisplayName != nil && *c.DisplayName == "":
		return bad(InvalidValue, "displayName is required")
	case len(c.Members) > MaxMembers:
		return bad(InvalidValue, "a request may name at most %d members; send it in parts", MaxMembers)
	}
	return nil
}

func (c *GroupChange) set(t target) error {
	switch t.attribute {
	case "displayname":
		name, err := t.text()
		name = strings.TrimSpace(name)
		c.DisplayName = &name
		return err
	case "externalid":
		id, err := t.text()
		c.ExternalID = &id
		return err
	case "members":
		return c.setMembers(t)
	}
	return nil
}

func (c *GroupChange) setMembers(t target) error {
	var named []Reference
	if t.value != nil {
		var err error
		if named, err = oneOrMany[Reference](t.value); err != nil {
			return bad(InvalidValue, "members must be a list of objects with the id of a user as value")
		}
	}
	if t.filter != nil {
		ids, err := valuesOf(t.filter)
		if err != nil {
			return err
		}
		if t.op == opRemove {
			c.remove(ids)
		} // else it is about a part of a member that is not kept, such as display
		return nil
	}
	switch {
	case t.op == opAdd:
		c.add(named)
	case t.op == opRemove && t.value != nil: // as Entra ID removes
		c.remove(named)
	default:
		c.Cleared, c.Members = true, nil
		if t.op == opReplace {
			c.add(named)
		}
	}
	return nil
}

func (c *GroupChange) add(members []Reference)    { c.put(members, true) }
func (c *GroupChange) remove(members []Reference) { c.put(members, false) }

func (c *GroupChange) put(members []Reference, in bool) {
	if c.Members == nil {
		c.Members = map[string]bool{}
	}
	for _, m := range members {
		c.Members[m.Value] = in
	}
}

// valuesOf are the ids that a filter on members selects: one, or several with or between them.
func valuesOf(e filter.Expression) ([]Reference, error) {
	switch e := e.(type) {
	case *filter.LogicalExpression:
		if e.Operator == filter.OR {
			left, err := valuesOf(e.Left)
			if err != nil {
				return nil, err
			}
			right, err := valuesOf(e.Right)
			return append(left, right...), err
		}
	case *filter.AttributeExpression:
		if value, text := e.CompareValue.(string); text && e.Operator == filter.EQ && strings.EqualFold(e.AttributePath.AttributeName, "value") {
			return []Reference{{Value: unescape(value)}}, nil
		}
	}
	return nil, bad(InvalidFilter, `members can be chosen by members[value eq "…"] alone`)
}
