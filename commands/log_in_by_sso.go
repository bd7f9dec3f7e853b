package commands

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/keytrail/keytrail/domain"
)

// LogInBySSO asks for a session by what the provider of an organization says of a person.
type LogInBySSO struct {
	Code        string // names the code that it came by, which is good once
	Identity    domain.Identity
	Client      string // of the identity's provider, for which it was
	Role        string // "": the provider names no group that has one
	Email, Name string // as the provider has them, "": it has none
	Verified    bool   // the provider has seen to it that the address is the person's
	ObjectID    string // of the person in the provider's directory, "": it names none beside the subject
	IP          string
	UserAgent   string
	Correlation string
}

// LogInBySSO carries out c:
//
//  1. The user is found by the identity, or made. Who they are follows from the identity: two first
//     log-ins at once make one user.
//  2. The user gets the role that the provider's groups give.
//  3. The session begins. Its id follows from the code, so that the ledger has no second one.
//
// After a crash the next log-in goes on from where this one came to.
func (h *Handler) LogInBySSO(ctx context.Context, c LogInBySSO) (u domain.User, s BegunSession, err error) {
	once := "sso-code-" + c.Code
	if _, used, err := h.requests.index.Request(once); used || err != nil {
		return u, s, cmp.Or(err, error(domain.ErrSSOCode))
	}
	if u, err = h.userOf(ctx, c); err != nil {
		return u, s, err
	}
	if err = h.giveRole(ctx, c, u); err != nil {
		return u, s, err
	}
	s, err = h.BeginSession(ctx, BeginSession{User: u, Org: c.Identity.Org, Method: domain.BySSO, Issuer: c.Identity.Issuer, Client: c.Client, IP: c.IP, UserAgent: c.UserAgent,
		Correlation: c.Correlation, once: once})
	return u, s, err
}

// userOf is the user whom the provider speaks of. Their address is what the provider says, and no
// claim: neither does it keep its owner from having it, nor does it give the provider's user what is
// the owner's.
func (h *Handler) userOf(ctx context.Context, c LogInBySSO) (u domain.User, err error) {
	u, found, err := h.people.Identified(c.Identity)
	if err == nil && !found {
		var same domain.UserID
		if same, err = h.sameInDirectory(c); err != nil {
			return u, err
		}
		if same != "" {
			u, err = h.link(ctx, domain.User{ID: same}, c.Identity, Request{By: domain.System, Correlation: c.Correlation})
			found = true
		}
	}
	if err == nil && !found {
		if c.Role == "" {
			return u, domain.ErrSSONoRole // a person without a role leaves no trace
		}
		u, err = h.newUserOf(ctx, c)
	}
	if err == nil && u.Status() != domain.ActiveUser {
		err = domain.ErrUserRemoved
	}
	return u, err
}

func (h *Handler) newUserOf(ctx context.Context, c LogInBySSO) (domain.User, error) {
	if err := h.notAMembersAddress(c.Identity.Org, c.Email); err != nil {
		return domain.User{}, err
	}
	bits := c.Identity.Bytes()
	id := domain.NewUserID("sso-identity-" + string(bits[:]))
	r := Request{By: domain.System, Correlation: c.Correlation}
	made, err := h.onUser(ctx, id, r, func(u domain.User) (domain.Event, error) {
		if u.ID != "" {
			return nil, nil
		}
		return u.Create(domain.CreateUser{Principalled: h.principalled(domain.System), ID: id, Email: c.Email, Directory: c.Identity.Org, Unverified: !c.Verified, Name: c.Name})
	})
	if err != nil {
		return made.User, err
	}
	return h.link(ctx, made.User, c.Identity, r)
}

// link lets a user log in by an identity.
func (h *Handler) link(ctx context.Context, u domain.User, i domain.Identity, r Request) (domain.User, error) {
	linked, err := h.onUser(ctx, u.ID, r, func(u domain.User) (domain.Event, error) {
		return u.LinkIdentity(h.principalled(r.By), i)
	})
	if err == nil && h.logIns.index != nil {
		err = h.logIns.index.WaitFor(ctx, linked.Position)
	}
	if err != nil {
		return linked.User, err
	}
	of, _, err := h.people.Identified(i)
	if err == nil && of.ID != u.ID { // who was quicker
		err = domain.ErrIdentityTaken
	}
	return linked.User, err
}

// notAMembersAddress refuses who has the address of a member of the organization: it may be the same
// person, which only that user can say. Other users of the installation are none of its business.
func (h *Handler) notAMembersAddress(org domain.OrgID, email string) error {
	u, found, err := h.logIns.index.Account(email)
	if err != nil || !found || email == "" {
		return err
	}
	m, _, err := h.people.MembersOf(org, []domain.UserID{u.ID}, "")
	if _, member := m.People[u.ID]; member && err == nil {
		err = domain.ErrSSOEmailTaken
	}
	return err
}

// sameInDirectory is the user of the organization's directory who is the person, "" if none is. The
// directory names them by an id of the provider, or by an address that the provider has verified: what
// people can write there themselves, such as a user name, or another address, would make them any
// colleague. So it is no second person's who has the address after the first.
func (h *Handler) sameInDirectory(c LogInBySSO) (domain.UserID, error) {
	if h.directories == nil {
		return "", nil
	}
	email := c.Email
	if !c.Verified {
		email = ""
	}
	id, err := h.directories.UserKnownAs(c.Identity.Org, []string{c.Identity.Subject, c.ObjectID}, email)
	if id == "" || err != nil {
		return "", err
	}
	u, found, err := h.people.UserNow(id)
	switch {
	case err != nil || !found:
		return "", err
	case u.Directory != c.Identity.Org, slices.ContainsFunc(u.Identities, func(i domain.Identity) bool { return i.Org == c.Identity.Org && i.Issuer == c.Identity.Issuer }):
		return "", domain.ErrSSOEmailTaken
	}
	return id, nil
}

// inDirectory reports whether the organization's directory has a user.
func (h *Handler) inDirectory(org domain.OrgID, user domain.UserID) (bool, error) {
	if h.directories == nil {
		return false, nil
	}
	d, _, err := h.directories.Directory(org, domain.DirectoryPart{Users: []domain.UserID{user}})
	_, known := d.Users[user]
	return known, err
}

// giveRole makes the user a member with the role that the provider gives. Without one they are none any
// more; the last owner stays one. Of those whom the organization's directory has, the directory says
// whether they are members, and with which role.
func (h *Handler) giveRole(ctx context.Context, c LogInBySSO, u domain.User) error {
	org := c.Identity.Org
	m, err := h.members(ctx, org, concerned{users: []domain.UserID{u.ID}})
	if err != nil {
		return err
	}
	if known, err := h.inDirectory(org, u.ID); known || err != nil {
		if _, member := m.People[u.ID]; err == nil && !member {
			err = domain.ErrSSONoRole
		}
		return err
	}
	r := Request{By: domain.Principal{ID: string(u.ID), Org: org, User: u.ID, Scopes: []string{"*"}}, Correlation: c.Correlation}
	if c.Role == "" {
		_, err = h.RemoveMember(ctx, RemoveMember{Request: r, Org: org, User: u.ID, Reason: domain.RemovedBySSO})
		if err == nil || errors.Is(err, domain.ErrMemberNotFound) || errors.Is(err, domain.ErrLastOwner) {
			err = domain.ErrSSONoRole
		}
		return err
	}
	_, err = h.SetMember(ctx, SetMember{Request: r, Org: org, User: u.ID, Role: c.Role, Asserted: true})
	switch {
	case errors.Is(err, domain.ErrLastOwner):
		return nil
	case errors.Is(err, domain.ErrRoleNotFound):
		return domain.ErrSSONoRole
	}
	return err
}
