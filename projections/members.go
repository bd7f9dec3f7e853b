package projections

import (
	"encoding/json"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// A MembersRow is an organization's members without who they are, and without what roles may do, so
// that a row which each membership changes is small. Revision is the position of the
// last event of them.
type MembersRow struct {
	domain.Members
	Revision eventstore.Position
}

func membersRow(org domain.OrgID) []byte { b := org.Bytes(); return row(rowMembers, b[:]) }

func loadMembers(r rowMap, org domain.OrgID) (m MembersRow, err error) {
	m.Org = org
	_, err = r.get(membersRow(org), func(v []byte) error {
		n, v := cutNumber(v)
		m.Revision = eventstore.Position(n)
		return json.Unmarshal(v, &m.Members)
	})
	return m, err
}

func roleRow(org domain.OrgID, name string) []byte {
	b := org.Bytes()
	return row(rowRole, b[:], text(name))
}

// loadScopes adds what the roles may do.
func (m *MembersRow) loadScopes(r rowMap) error {
	for name, role := range m.Roles {
		if role.Custom {
			if _, err := r.get(roleRow(m.Org, name), func(v []byte) error { return json.Unmarshal(v, &role.Scopes) }); err != nil {
				return err
			}
			m.Roles[name] = role
		}
	}
	return nil
}

func memberRow(org domain.OrgID, user domain.UserID) []byte {
	o, u := org.Bytes(), user.Bytes()
	return row(rowMember, o[:], u[:])
}

func invitationRow(org domain.OrgID, id domain.InvitationID) []byte {
	o, i := org.Bytes(), id.Bytes()
	return row(rowInvitation, o[:], i[:])
}

func (t *peopleTable) writeMembers(r rowMap, record *eventstore.Record) error {
	m, err := loadMembers(r, record.Org)
	if err != nil {
		return err
	}
	switch e := record.Event.(type) {
	case domain.MembershipCreated:
		err = t.writeMember(r, record, &m.Members, e.User)
		if err == nil && e.Invitation != "" {
			err = r.delete(invitationRow(record.Org, e.Invitation))
		}
	case domain.MembershipUpdated:
		err = t.writeMember(r, record, &m.Members, e.User)
	case domain.MembershipRemoved:
		err = t.writeMember(r, record, &m.Members, e.User)
	case domain.InvitationCreated:
		m.Apply(e)
		err = setJSON(r, invitationRow(record.Org, e.ID), nil, m.Invitations[e.ID])
	case domain.InvitationTokenRotated:
		err = rotateToken(r, &m.Members, e)
	case domain.InvitationRevoked:
		m.Apply(e)
		err = r.delete(invitationRow(record.Org, e.ID))
	case domain.RoleDefined:
		m.Apply(e)
		m.Roles[e.Role] = domain.Role{Custom: true, Members: m.Roles[e.Role].Members}
		t.outdated.add(roleDigest(record.Org, e.Role))
		err = setJSON(r, roleRow(record.Org, e.Role), nil, e.Scopes)
	case domain.RoleRemoved:
		m.Apply(e)
		t.outdated.add(roleDigest(record.Org, e.Role))
		err = r.delete(roleRow(record.Org, e.Role))
	}
	if err != nil {
		return err
	}
	return setJSON(r, membersRow(record.Org), number(uint64(record.Position)), m.Members)
}

func rotateToken(r rowMap, m *domain.Members, e domain.InvitationTokenRotated) error {
	i, err := loadInvitation(r, m.Org, e.ID)
	if i.ID == "" || err != nil {
		return err
	}
	m.Invitations = map[domain.InvitationID]domain.Invitation{i.ID: i}
	m.Apply(e)
	return setJSON(r, invitationRow(m.Org, i.ID), nil, m.Invitations[i.ID])
}

// loadInvitation is an invitation; one that is not there has no id.
func loadInvitation(r rowMap, org domain.OrgID, id domain.InvitationID) (i domain.Invitation, err error) {
	_, err = r.get(invitationRow(org, id), func(v []byte) error { return json.Unmarshal(v, &i) })
	return i, err
}

// writeMember applies an event about one member.
func (t *peopleTable) writeMember(r rowMap, record *eventstore.Record, m *domain.Members, user domain.UserID) error {
	before, since, err := loadMember(r, record.Org, user)
	if err != nil {
		return err
	}
	if before.Role != "" {
		m.People = map[domain.UserID]domain.Member{user: before}
	}
	m.Apply(record.Event)
	now, member := m.People[user]
	id, org := user.Bytes(), record.Org.Bytes()
	t.outdated.add(memberDigest(record.Org.Bytes(), user.Bytes()))
	if before.Directory != "" && now.Directory != before.Directory {
		if err := r.delete(directoryRow(record.Org, before.Directory)); err != nil {
			return err
		}
	}
	if !member {
		if err := r.delete(row(rowMemberOfUser, id[:], org[:])); err != nil {
			return err
		}
		if err := r.delete(row(rowMemberOf, org[:], id[:])); err != nil {
			return err
		}
		return setJSON(r, memberRow(record.Org, user), number(uint64(record.Position)), domain.Member{})
	}
	if before.Role == "" {
		since = record.Position
	}
	if now.Directory != "" {
		if err := r.set(directoryRow(record.Org, now.Directory), id[:]); err != nil {
			return err
		}
	}
	if err := r.set(row(rowMemberOfUser, id[:], org[:]), nil); err != nil {
		return err
	}
	if err := r.set(row(rowMemberOf, org[:], id[:]), nil); err != nil {
		return err
	}
	return setJSON(r, memberRow(record.Org, user), number(uint64(since)), now)
}

// loadMember is a member and where they became one. One who was removed has no role, and the position
// of that.
func loadMember(r rowMap, org domain.OrgID, user domain.UserID) (m domain.Member, since eventstore.Position, err error) {
	_, err = r.get(memberRow(org, user), func(v []byte) error {
		n, v := cutNumber(v)
		since = eventstore.Position(n)
		return json.Unmarshal(v, &m)
	})
	return m, since, err
}

func directoryRow(org domain.OrgID, id string) []byte {
	o := org.Bytes()
	return row(rowMemberByDirectory, o[:], text(id))
}

// MembersOf are an organization's members as a command about some of them needs them: beside the
// counts, those users and that invitation alone; "": none.
func (s *Store) MembersOf(org domain.OrgID, users []domain.UserID, invitation domain.InvitationID) (m domain.Members, revision eventstore.Position, err error) {
	err = s.people.read(func(r rows) error {
		all, err := loadMembers(r, org)
		if err == nil {
			err = all.loadScopes(r)
		}
		if err != nil {
			return err
		}
		m, revision = all.Members, all.Revision
		m.People, m.Invitations = map[domain.UserID]domain.Member{}, map[domain.InvitationID]domain.Invitation{}
		for _, id := range users {
			member, _, err := loadMember(r, org, id)
			if err != nil {
				return err
			}
			if member.Role != "" {
				m.People[id] = member
			}
		}
		i, err := loadInvitation(r, org, invitation)
		if i.ID != "" {
			m.Invitations[i.ID] = i
		}
		return err
	})
	return m, revision, err
}

// Roles are the roles of an organization that it defined itself or that members have, and the
// revision of its members.
func (s *Store) Roles(org domain.OrgID) (roles map[string]domain.Role, revision eventstore.Position, err error) {
	m, revision, err := s.MembersOf(org, nil, "")
	return m.Roles, revision, err
}

// A MemberRow is a member and who that is.
type MemberRow struct {
	domain.Member
	User UserRow
	Org  domain.OrgID
}

// Member finds a member; domain.ErrMemberNotFound.
func (s *Store) Member(org domain.OrgID, user domain.UserID) (m MemberRow, err error) {
	err = s.people.read(func(r rows) (err error) {
		m, err = loadMemberRow(r, org, user)
		return err
	})
	if err == nil && m.Role == "" {
		err = domain.ErrMemberNotFound
	}
	return m, err
}

func loadMemberRow(r rowMap, org domain.OrgID, user domain.UserID) (m MemberRow, err error) {
	m.Org = org
	if m.Member, _, err = loadMember(r, org, user); err == nil {
		m.User, err = loadUser(r, user.Bytes())
	}
	return m, err
}

// MemberSince is the position at which a user became the member of an organization that they are; 0: they are none.
func (s *Store) MemberSince(org domain.OrgID, user domain.UserID) (since eventstore.Position, err error) {
	err = s.people.read(func(r rows) error {
		m, at, err := loadMember(r, org, user)
		if m.Role != "" {
			since = at
		}
		return err
	})
	return since, err
}

// Members lists an organization's members by their ids, limit at a time. cursor is "" or what the
// page before answered as next, which is "" at the end.
func (s *Store) Members(org domain.OrgID, cursor string, limit int) (page []MemberRow, next string, err error) {
	from, err := parseCursor(cursor, "members "+string(org))
	if err != nil {
		return nil, "", err
	}
	o := org.Bytes()
	err = s.people.read(func(r rows) error {
		it := r.walk(span{prefix: row(rowMemberOf, o[:]), after: from.entry()})
		defer it.close()
		for ; it.valid; it.next() {
			if len(page) == limit {
				next = from.at(0, indexEntry{id: page[limit-1].User.ID.Bytes()})
				return nil
			}
			m, err := loadMemberRow(r, org, domain.UserIDFromBytes(it.at.id))
			if err != nil {
				return err
			}
			page = append(page, m)
		}
		return nil
	})
	return page, next, err
}

// Memberships are a user's, in the order of the organizations' ids.
func (s *Store) Memberships(user domain.UserID) (all []MemberRow, err error) {
	u := user.Bytes()
	err = s.people.read(func(r rows) error {
		return r.each(row(rowMemberOfUser, u[:]), func(key, _ []byte) error {
			m, err := loadMemberRow(r, domain.OrgIDFromBytes([idSize]byte(key[1+idSize:])), user)
			all = append(all, m)
			return err
		})
	})
	return all, err
}

// OrganizationsOf are those that a user is a member of.
func (s *Store) OrganizationsOf(user domain.UserID) (all []domain.OrgID, err error) {
	u := user.Bytes()
	err = s.people.read(func(r rows) error {
		return r.each(row(rowMemberOfUser, u[:]), func(key, _ []byte) error {
			all = append(all, domain.OrgIDFromBytes([idSize]byte(key[1+idSize:])))
			return nil
		})
	})
	return all, err
}

// Invitation finds one; domain.ErrInvitationNotFound.
func (s *Store) Invitation(org domain.OrgID, id domain.InvitationID) (i domain.Invitation, err error) {
	err = s.people.read(func(r rows) (err error) {
		i, err = loadInvitation(r, org, id)
		return err
	})
	if err == nil && i.ID == "" {
		err = domain.ErrInvitationNotFound
	}
	return i, err
}

// Invitations are those of an organization, of which there are few, by their ids; with those that
// are over and were not revoked.
func (s *Store) Invitations(org domain.OrgID) (all []domain.Invitation, err error) {
	o := org.Bytes()
	err = s.people.read(func(r rows) error {
		return r.each(row(rowInvitation, o[:]), func(_, v []byte) error {
			var i domain.Invitation
			err := json.Unmarshal(v, &i)
			all = append(all, i)
			return err
		})
	})
	return all, err
}
