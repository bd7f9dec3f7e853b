package api

import (
	"context"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/projections"
)

type principalAnswer struct {
	Body struct {
		ID      string           `json:"id" doc:"The key's, or the user's."`
		Kind    string           `json:"kind" enum:"key,session"`
		Org     *domain.OrgID    `json:"org_id" doc:"null: the whole installation, or of a session none"`
		Reach   string           `json:"reach" enum:"installation,organization,none"`
		Scopes  []string         `json:"scopes"`
		Session domain.SessionID `json:"session_id,omitempty"`
		User    *sessionUser     `json:"user,omitempty"`
		Role    string           `json:"role,omitempty" doc:"Of the user in the organization."`
	}
}

// principal tells who is calling.
func (s *server) principal(_ context.Context, p domain.Principal, _ *struct{}) (*principalAnswer, error) {
	a := &principalAnswer{}
	b := &a.Body
	b.ID, b.Kind, b.Reach, b.Scopes = p.ID, "key", "none", orEmpty(p.Scopes)
	switch {
	case p.Reach().All:
		b.Reach = "installation"
	case p.Org != "":
		b.Reach, b.Org = "organization", &p.Org
	}
	if p.Session == "" {
		return a, nil
	}
	var c projections.Credential
	if found, err := s.Store.SessionCredential(p.Session, &c); err != nil || !found {
		return nil, orInvalid(err)
	}
	b.Kind, b.Session, b.Role, b.User = "session", p.Session, c.Role, &sessionUser{p.User, c.Name, c.UserName}
	return a, nil
}

// orInvalid is err, or the refusal of a caller whose session ended just now.
func orInvalid(err error) error {
	if err == nil {
		err = domain.ErrInvalidCredentials
	}
	return err
}
