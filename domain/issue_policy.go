package domain

// An IssuePolicy has the service itself issue a key to each new user, or to each new member of an
// organization. The secret of such a key is in no answer: it is revealed, or replaced by a rotation.
type IssuePolicy struct {
	On           string   `json:"on" validate:"required,oneof=user membership"`
	Organization OrgID    `json:"organization,omitempty" validate:"max=30"`              // of the keys of users
	Environment  string   `json:"environment,omitempty" validate:"max=32,secret_text"`   // "": the keyspace's first
	Name         string   `json:"name,omitempty" validate:"max=200,text"`                // "": IssuedName
	Scopes       []string `json:"scopes,omitempty" validate:"max=100,unique,dive,scope"` // none: defaults.scopes
}

// What keys are issued on.
const (
	IssueOnUser       = "user"
	IssueOnMembership = "membership"
)

// IssuedName is the name of issued keys, unless the policy has one.
const IssuedName = "issued at registration"

// checkIssue refuses what the tags of the fields cannot tell.
func (d *KeyspaceDefinition) checkIssue() error {
	i := d.Issue
	if i == nil {
		return nil
	}
	_, notOrg := ParseOrgID(string(i.Organization))
	switch {
	case i.On == IssueOnUser && (notOrg != nil || i.Organization == Installation):
		return InvalidField("issue.organization", "must be the id of an organization: the one that the keys of users belong to")
	case i.On == IssueOnMembership && i.Organization != "":
		return InvalidField("issue.organization", "must be left out on membership: the keys belong to the member's organization")
	}
	if _, err := d.Format.shapeOf(i.Environment); err != nil {
		return InvalidField("issue.environment", "must be an environment of the format")
	}
	for n, s := range i.Scopes {
		if !d.hasScope(s) {
			return InvalidField("issue.scopes["+itoa(n)+"]", "is not in the catalogue under scopes")
		}
	}
	return nil
}
