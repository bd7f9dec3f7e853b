package scim

import (
	"encoding/json"
	"strings"

	"github.com/scim2/filter-parser/v2"
)

// A User is what is kept of a user resource.
type User struct {
	ID          string
	ExternalID  string
	UserName    string
	DisplayName string
	Name        Name
	Email       string // the primary one, or the first
	Active      *bool  // nil: the request does not say
	Groups      []Reference
	Meta        Meta
}

// A Name is the parts of a user's name.
type Name struct {
	Formatted string `json:"formatted,omitempty"`
	Given     string `json:"givenName,omitempty"`
	Family    string `json:"familyName,omitempty"`
}

// An email is an entry of emails.
type email struct {
	Value   string  `json:"value"`
	Type    string  `json:"type,omitempty"`
	Primary boolean `json:"primary,omitempty"`
}

// userJSON is a user resource as it is sent and answered.
type userJSON struct {
	Schemas     []string    `json:"schemas"`
	ID          string      `json:"id"`
	ExternalID  string      `json:"externalId,omitempty"`
	UserName    string      `json:"userName"`
	DisplayName string      `json:"displayName,omitempty"`
	Name        *Name       `json:"name,omitempty"`
	Emails      []email     `json:"emails,omitempty"`
	Active      *boolean    `json:"active"`
	Groups      []Reference `json:"groups,omitempty"`
	Meta        *Meta       `json:"meta,omitempty"`
}

// MarshalJSON writes the resource.
func (u *User) MarshalJSON() ([]byte, error) {
	j := userJSON{Schemas: []string{userSchema}, ID: u.ID, ExternalID: u.ExternalID, UserName: u.UserName, DisplayName: u.DisplayName,
		Active: (*boolean)(u.Active), Groups: u.Groups, Meta: &u.Meta}
	if u.Name != (Name{}) {
		j.Name = &u.Name
	}
	if u.Email != "" {
		j.Emails = []email{{u.Email, "work", true}}
	}
	return json.Marshal(j)
}

// ParseUser reads a user resource that a directory sends.
func ParseUser(body []byte) (*User, error) {
	var j userJSON
	if err := json.Unmarshal(body, &j); err != nil {
		return nil, bad(InvalidSyntax, "the body must be a user resource of SCIM 2.0")
	}
	u := &User{ExternalID: j.ExternalID, UserName: strings.TrimSpace(j.UserName), DisplayName: j.DisplayName, Email: pick(j.Emails),
		Active: (*bool)(j.Active)}
	if j.Name != nil {
		u.Name = *j.Name
	}
	return u, u.check()
}

// check demands what every user must have.
func (u *User) check() error {
	if u.UserName == "" {
		return bad(InvalidValue, "userName is required")
	}
	return nil
}

// pick is the address to keep: the primary one, that of work, or the first.
func pick(emails []email) string {
	best, rank := "", 0
	for _, e := range emails {
		r := 1
		switch {
		case bool(e.Primary):
			r = 3
		case strings.EqualFold(e.Type, "work"):
			r = 2
		}
		if r > rank {
			best, rank = e.Value, r
		}
	}
	return best
}

// Patch applies the operations of a PATCH in order.
func (u *User) Patch(operations []Operation) error {
	for _, o := range operations {
		if err := o.each(userSchema, u.set); err != nil {
			return err
		}
	}
	return u.check()
}

// set gives an attribute another value; nil takes it away.
func (u *User) set(t target) (err error) {
	switch t.attribute {
	case "username":
		u.UserName, err = t.text()
		u.UserName = strings.TrimSpace(u.UserName)
	case "externalid":
		u.ExternalID, err = t.text()
	case "displayname":
		u.DisplayName, err = t.text()
	case "active":
		if t.value == nil {
			return bad(InvalidValue, "active can be true or false, and not be taken away")
		}
		var active boolean
		active, err = decode[boolean](t.value, "active", "true or false")
		u.Active = (*bool)(&active)
	case "name":
		err = u.setName(t)
	case "emails":
		err = u.setEmail(t)
	}
	return err
}

func (u *User) setName(t target) (err error) {
	parts := map[string]*string{"formatted": &u.Name.Formatted, "givenname": &u.Name.Given, "familyname": &u.Name.Family}
	if t.sub != "" {
		if part := parts[t.sub]; part != nil {
			*part, err = t.text()
		}
		return err
	}
	name := Name{}
	if t.op == opAdd {
		name = u.Name
	}
	if t.value != nil && json.Unmarshal(t.value, &name) != nil {
		return bad(InvalidValue, "name must be an object with formatted, givenName and familyName")
	}
	u.Name = name
	return nil
}

// setEmail sets the one address that is kept. An operation on addresses of other types, like those of
// home, does nothing.
func (u *User) setEmail(t target) (err error) {
	if t.filter != nil && !u.selectsEmail(t.filter) {
		return nil
	}
	switch {
	case t.sub == "value":
		u.Email, err = t.text()
	case t.sub != "":
	case t.value == nil:
		u.Email = ""
	default:
		var emails []email
		if emails, err = oneOrMany[email](t.value); err != nil {
			return bad(InvalidValue, "emails must be a list of objects with value, type and primary")
		}
		if value := pick(emails); value != "" && (t.op != opAdd || u.Email == "" || anyPrimary(emails)) {
			u.Email = value
		}
	}
	return err
}

func anyPrimary(emails []email) bool {
	for _, e := range emails {
		if bool(e.Primary) || strings.EqualFold(e.Type, "work") {
			return true
		}
	}
	return false
}

// selectsEmail reports whether a filter on emails is about the address that is kept: its type is work,
// it is the primary one, or it is named itself.
func (u *User) selectsEmail(e filter.Expression) bool {
	switch e := e.(type) {
	case *filter.LogicalExpression:
		if e.Operator == filter.AND {
			return u.selectsEmail(e.Left) && u.selectsEmail(e.Right)
		}
		return u.selectsEmail(e.Left) || u.selectsEmail(e.Right)
	case *filter.AttributeExpression:
		if e.Operator != filter.EQ {
			return false
		}
		value, _ := e.CompareValue.(string)
		switch strings.ToLower(e.AttributePath.AttributeName) {
		case "type":
			return strings.EqualFold(value, "work")
		case "primary":
			return e.CompareValue == true || strings.EqualFold(value, "true")
		case "value":
			return strings.EqualFold(unescape(value), u.Email)
		}
	}
	return false
}
