package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/internal/scim"
	"github.com/keytrail/keytrail/projections"
)

func (s *server) scimCreateUser(ctx context.Context, r *scimRequest) (scimAnswer, error) {
	u, err := scim.ParseUser(r.body)
	if err != nil {
		return scimAnswer{}, err
	}
	profile := profileOf(u)
	c := commands.CreateDirectoryUser{Request: r.command(), Org: r.org, Profile: profile, Active: u.Active == nil || *u.Active}
	if c.Member, err = s.memberOf(r.org, &profile); err != nil {
		return scimAnswer{}, err
	}
	id, at, err := s.Commands.CreateDirectoryUser(ctx, c)
	if err != nil {
		return scimAnswer{}, err
	}
	return s.settled(ctx, at, func() (scimAnswer, error) {
		resource, err := s.scimUser(r.org, id)
		return scimAnswer{status: http.StatusCreated, resource: resource, location: userLocation(id)}, err
	})
}

// memberOf is the member of an organization who has an address, unless they are a user of its
// directory: who leaves the directory is out, and so are those who were members before it was
// connected. Users who are no members are none of the directory's business.
func (s *server) memberOf(org domain.OrgID, p *domain.DirectoryProfile) (domain.UserID, error) {
	candidates, err := s.identifiedIn(org, p.ExternalID)
	if err != nil {
		return "", err
	}
	if email, err := domain.NormalEmail(p.Address()); err == nil { // some directories' user names are no addresses
		more, err := s.addressed(org, email)
		if err != nil {
			return "", err
		}
		candidates = append(candidates, more...)
	}
	for _, id := range candidates {
		_, member := s.Store.Member(org, id)
		_, _, ofDirectory := s.Store.DirectoryUser(org, id)
		if member == nil && errors.Is(ofDirectory, domain.ErrUserNotFound) {
			return id, nil
		}
	}
	return "", nil
}

// identifiedIn are those whom an organization's provider knows by an id of its directory.
func (s *server) identifiedIn(org domain.OrgID, id string) ([]domain.UserID, error) {
	found, err := s.Store.SSO(org)
	if errors.Is(err, domain.ErrSSONotFound) || id == "" {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	u, err := s.Store.UserByIdentity(domain.Identity{Org: org, Issuer: found.Issuer, Subject: id})
	if errors.Is(err, domain.ErrUserNotFound) {
		return nil, nil
	}
	return []domain.UserID{u.ID}, err
}

// addressed are the user who has an address, and the one whom an organization's directory, or provider,
// says to have it.
func (s *server) addressed(org domain.OrgID, email string) (candidates []domain.UserID, err error) {
	u, err := s.Store.UserByEmail(email)
	if err == nil {
		candidates = append(candidates, u.ID)
	} else if !errors.Is(err, domain.ErrUserNotFound) {
		return nil, err
	}
	id, known, err := s.Store.UserOfDirectory(org, email)
	if known {
		candidates = append(candidates, id)
	}
	return candidates, err
}

// profileOf is what is kept of a user resource.
func profileOf(u *scim.User) domain.DirectoryProfile {
	return domain.DirectoryProfile{UserName: u.UserName, ExternalID: u.ExternalID, Email: u.Email, DisplayName: u.DisplayName,
		FullName: u.Name.Formatted, GivenName: u.Name.Given, FamilyName: u.Name.Family}
}

// resourceOf is the part of a user resource that the directory says itself.
func resourceOf(p domain.DirectoryProfile) *scim.User {
	return &scim.User{UserName: p.UserName, ExternalID: p.ExternalID, Email: p.Email, DisplayName: p.DisplayName,
		Name: scim.Name{Formatted: p.FullName, Given: p.GivenName, Family: p.FamilyName}}
}

func userLocation(id domain.UserID) string { return scimBase + "/Users/" + string(id) }

// scimUser is a user of the directory as a resource.
func (s *server) scimUser(org domain.OrgID, id domain.UserID) (*scim.User, error) {
	row, groups, err := s.Store.DirectoryUser(org, id)
	if err != nil {
		return nil, err
	}
	return s.showDirectoryUser(org, row, groups)
}

// showDirectoryUser is a user as a resource: active is who is a member.
func (s *server) showDirectoryUser(org domain.OrgID, row projections.DirectoryUserRow, groups []projections.DirectoryGroupRow) (*scim.User, error) {
	_, err := s.Store.Member(org, row.ID)
	if err != nil && !errors.Is(err, domain.ErrMemberNotFound) {
		return nil, err
	}
	active := err == nil
	u := resourceOf(row.DirectoryProfile)
	u.ID, u.Active = string(row.ID), &active
	u.Meta = scim.Meta{ResourceType: "User", Created: row.CreatedAt, LastModified: row.UpdatedAt, Location: userLocation(row.ID)}
	for _, g := range groups {
		u.Groups = append(u.Groups, scim.Reference{Value: string(g.ID), Display: g.Name, Ref: groupLocation(g.ID)})
	}
	return u, nil
}

// userNamed is the user that a path names.
func userNamed(r *scimRequest) (domain.UserID, error) {
	id, err := domain.ParseUserID(r.PathValue("id"))
	if err != nil {
		err = domain.ErrUserNotFound
	}
	return id, err
}

func (s *server) scimReadUser(ctx context.Context, r *scimRequest) (scimAnswer, error) {
	id, err := userNamed(r)
	if err != nil {
		return scimAnswer{}, err
	}
	u, err := found(ctx, s, func() (*scim.User, bool, error) {
		u, err := s.scimUser(r.org, id)
		return u, errors.Is(err, domain.ErrUserNotFound), err
	})
	return scimAnswer{resource: u}, err
}

func (s *server) scimListUsers(ctx context.Context, r *scimRequest) (scimAnswer, error) {
	f, err := scim.ParseFilter(r.URL.Query().Get("filter"), "userName", "externalId", "id", "emails.value")
	if err != nil {
		return scimAnswer{}, err
	}
	start, count, err := r.page()
	if err != nil || f.Nothing() {
		return scimAnswer{resource: scim.List{Start: start}}, err
	}
	q := projections.DirectoryQuery{ID: f["id"], Name: f["userName"], ExternalID: f["externalId"], Email: f["emails.value"], Start: start, Limit: count}
	list, err := found(ctx, s, func() (scim.List, bool, error) {
		rows, total, err := s.Store.DirectoryUsers(r.org, q)
		list := scim.List{Total: total, Start: start}
		for _, row := range rows {
			if err == nil {
				var u *scim.User
				u, err = s.scimUser(r.org, row.ID)
				list.Items = append(list.Items, r.selected(u))
			}
		}
		return list, err == nil && total == 0, err
	})
	return scimAnswer{resource: list}, err
}

func (s *server) scimPutUser(ctx context.Context, r *scimRequest) (scimAnswer, error) {
	u, err := scim.ParseUser(r.body)
	if err != nil {
		return scimAnswer{}, err
	}
	profile := profileOf(u)
	return s.changeDirectoryUser(ctx, r, u.Active, func(domain.DirectoryProfile) (domain.DirectoryProfile, error) { return profile, nil })
}

func (s *server) scimPatchUser(ctx context.Context, r *scimRequest) (scimAnswer, error) {
	operations, err := scim.ParsePatch(r.body)
	if err != nil {
		return scimAnswer{}, err
	}
	patched := &scim.User{UserName: "-"} // whatever the user is, active is what the operations say
	if err := patched.Patch(operations); err != nil {
		return scimAnswer{}, err
	}
	return s.changeDirectoryUser(ctx, r, patched.Active, func(p domain.DirectoryProfile) (domain.DirectoryProfile, error) {
		u := resourceOf(p)
		err := u.Patch(operations)
		return profileOf(u), err
	})
}

func (s *server) changeDirectoryUser(ctx context.Context, r *scimRequest, active *bool, change func(domain.DirectoryProfile) (domain.DirectoryProfile, error)) (scimAnswer, error) {
	id, err := userNamed(r)
	if err != nil {
		return scimAnswer{}, err
	}
	at, err := s.Commands.ChangeDirectoryUser(ctx, commands.ChangeDirectoryUser{Request: r.command(), Org: r.org, User: id, Active: active, Change: change})
	if err != nil {
		return scimAnswer{}, err
	}
	return s.settled(ctx, at, func() (scimAnswer, error) {
		u, err := s.scimUser(r.org, id)
		return scimAnswer{resource: u}, err
	})
}

func (s *server) scimDeleteUser(ctx context.Context, r *scimRequest) (scimAnswer, error) {
	id, err := userNamed(r)
	if err != nil {
		return scimAnswer{}, err
	}
	at, err := s.Commands.RemoveDirectoryUser(ctx, r.command(), r.org, id)
	if err != nil {
		return scimAnswer{}, err
	}
	return s.settled(ctx, at, func() (scimAnswer, error) { return scimAnswer{}, nil })
}
