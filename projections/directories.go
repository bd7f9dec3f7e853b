package projections

import (
	"encoding/json"
	"errors"
	"slices"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// The kinds of rows of the directories table. Each begins with the organization.
const (
	rowDirectory            = 'd' // → revision, settings and counts
	rowDirectoryUser        = 'u' // user → DirectoryUserRow
	rowDirectoryName        = 'n' // folded user name → user
	rowDirectoryExternal    = 'x' // external id, user
	rowDirectoryUserNumber  = 's' // number → user: in the order of their creation
	rowDirectoryGroup       = 'g' // group → DirectoryGroupRow
	rowDirectoryGroupName   = 'h' // folded name → group
	rowDirectoryGroupNumber = 't' // number → group
	rowDirectoryMember      = 'm' // group, user
	rowDirectoryEmail       = 'e' // address → the user whom the directory, or the provider, has with it
)

// A DirectoryUserRow is a user of an organization's directory.
type DirectoryUserRow struct {
	ID domain.UserID `json:"user_id"`
	domain.DirectoryUser
	Number uint64           `json:"number"` // grows with each user
	Groups []domain.GroupID `json:"groups,omitempty"`
}

// A DirectoryGroupRow is a group of an organization's directory.
type DirectoryGroupRow struct {
	ID domain.GroupID `json:"group_id"`
	domain.DirectoryGroup
	Number uint64 `json:"number"`
}

// A directoryWriter applies one event to the rows of one directory.
type directoryWriter struct {
	rowMap
	org    [idSize]byte
	record *eventstore.Record
}

func applyDirectories(r rowMap, records []eventstore.Record) error {
	for i := range records {
		record := &records[i]
		w := directoryWriter{r, record.Org.Bytes(), record}
		if err := w.apply(); err != nil {
			return err
		}
	}
	return nil
}

func (w directoryWriter) apply() error {
	switch e := w.record.Event.(type) {
	case domain.UserCreated:
		if e.Directory == "" || e.Unverified { // whose address it is, the person may have made up
			return nil
		}
		id := e.ID.Bytes()
		return w.set(emailRow(e.Directory.Bytes(), e.Email), id[:])
	case domain.DirectoryUpdated, domain.DirectoryUserCreated, domain.DirectoryUserUpdated, domain.DirectoryUserRemoved,
		domain.DirectoryGroupCreated, domain.DirectoryGroupUpdated, domain.DirectoryGroupMembersChanged, domain.DirectoryGroupRemoved:
	default:
		return nil // an event of another kind of aggregate
	}
	d, _, err := loadDirectory(w, w.org)
	if err != nil {
		return err
	}
	switch e := w.record.Event.(type) {
	case domain.DirectoryUserCreated:
		err = w.putUser(DirectoryUserRow{ID: e.User, DirectoryUser: domain.DirectoryUser{DirectoryProfile: e.DirectoryProfile, CreatedAt: e.At, UpdatedAt: e.At}, Number: uint64(d.Created)})
	case domain.DirectoryUserUpdated:
		err = w.changeUser(e.User, func(u *DirectoryUserRow) { u.DirectoryProfile, u.UpdatedAt = e.DirectoryProfile, e.At })
	case domain.DirectoryUserRemoved:
		err = w.removeUser(e.User)
	case domain.DirectoryGroupCreated:
		err = w.putGroup(DirectoryGroupRow{ID: e.Group, DirectoryGroup: domain.DirectoryGroup{DirectoryGroupName: e.DirectoryGroupName, CreatedAt: e.At, UpdatedAt: e.At}, Number: uint64(d.Created)})
	case domain.DirectoryGroupUpdated:
		err = w.changeGroup(e.Group, func(g *DirectoryGroupRow) { g.DirectoryGroupName, g.UpdatedAt = e.DirectoryGroupName, e.At })
	case domain.DirectoryGroupMembersChanged:
		err = w.changeMembers(e)
	case domain.DirectoryGroupRemoved:
		err = w.removeGroup(e.Group)
	}
	if err != nil {
		return err
	}
	d.Apply(w.record.Event)
	return setJSON(w, directoryKey(rowDirectory, w.org), number(uint64(w.record.Position)), d)
}

// directoryKey is a row of an organization's directory.
func directoryKey(kind byte, org [idSize]byte, parts ...[]byte) []byte {
	return row(kind, append([][]byte{org[:]}, parts...)...)
}

func emailRow(org [idSize]byte, email string) []byte {
	return directoryKey(rowDirectoryEmail, org, []byte(domain.FoldName(email)))
}

func nameRow(kind byte, org [idSize]byte, name string) []byte {
	return directoryKey(kind, org, []byte(domain.FoldName(name)))
}

func loadDirectory(r rowMap, org [idSize]byte) (d domain.Directory, revision eventstore.Position, err error) {
	_, err = r.get(directoryKey(rowDirectory, org), func(v []byte) error {
		n, v := cutNumber(v)
		revision = eventstore.Position(n)
		return json.Unmarshal(v, &d)
	})
	return d, revision, err
}

func loadDirectoryUser(r rowMap, org [idSize]byte, id domain.UserID) (u DirectoryUserRow, found bool, err error) {
	b := id.Bytes()
	found, err = r.get(directoryKey(rowDirectoryUser, org, b[:]), func(v []byte) error { return json.Unmarshal(v, &u) })
	return u, found, err
}

func loadDirectoryGroup(r rowMap, org [idSize]byte, id domain.GroupID) (g DirectoryGroupRow, found bool, err error) {
	b := id.Bytes()
	found, err = r.get(directoryKey(rowDirectoryGroup, org, b[:]), func(v []byte) error { return json.Unmarshal(v, &g) })
	return g, found, err
}

// userIndexes are the rows that lead to a user.
func (w directoryWriter) userIndexes(u *DirectoryUserRow) (rows [][]byte) {
	id := u.ID.Bytes()
	rows = [][]byte{nameRow(rowDirectoryName, w.org, u.UserName), directoryKey(rowDirectoryUserNumber, w.org, number(u.Number))}
	if u.ExternalID != "" {
		rows = append(rows, directoryKey(rowDirectoryExternal, w.org, text(u.ExternalID), id[:]))
	}
	if u.Email != "" {
		rows = append(rows, emailRow(w.org, u.Email))
	}
	return rows
}

func (w directoryWriter) putUser(u DirectoryUserRow) error {
	id := u.ID.Bytes()
	for _, index := range w.userIndexes(&u) {
		if err := w.set(index, id[:]); err != nil {
			return err
		}
	}
	return setJSON(w, directoryKey(rowDirectoryUser, w.org, id[:]), nil, u)
}

func (w directoryWriter) changeUser(id domain.UserID, change func(*DirectoryUserRow)) error {
	u, found, err := loadDirectoryUser(w, w.org, id)
	if err != nil || !found {
		return err
	}
	if err := w.unindexUser(&u); err != nil {
		return err
	}
	change(&u)
	return w.putUser(u)
}

// unindexUser deletes the rows that lead to a user, but for an address that another one has by now.
func (w directoryWriter) unindexUser(u *DirectoryUserRow) error {
	for _, index := range w.userIndexes(u) {
		mine := false
		_, err := w.get(index, func(v []byte) error {
			mine = domain.UserIDFromBytes([idSize]byte(v)) == u.ID
			return nil
		})
		if err == nil && mine {
			err = w.delete(index)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w directoryWriter) removeUser(id domain.UserID) error {
	u, found, err := loadDirectoryUser(w, w.org, id)
	if err != nil || !found {
		return err
	}
	b := id.Bytes()
	for _, group := range u.Groups {
		g := group.Bytes()
		err := w.delete(directoryKey(rowDirectoryMember, w.org, g[:], b[:]))
		if err == nil {
			err = w.changeGroup(group, func(g *DirectoryGroupRow) { g.Size-- })
		}
		if err != nil {
			return err
		}
	}
	if err := w.unindexUser(&u); err != nil {
		return err
	}
	return w.delete(directoryKey(rowDirectoryUser, w.org, b[:]))
}

func (w directoryWriter) putGroup(g DirectoryGroupRow) error {
	id := g.ID.Bytes()
	for _, index := range [][]byte{nameRow(rowDirectoryGroupName, w.org, g.Name), directoryKey(rowDirectoryGroupNumber, w.org, number(g.Number))} {
		if err := w.set(index, id[:]); err != nil {
			return err
		}
	}
	return setJSON(w, directoryKey(rowDirectoryGroup, w.org, id[:]), nil, g)
}

func (w directoryWriter) changeGroup(id domain.GroupID, change func(*DirectoryGroupRow)) error {
	g, found, err := loadDirectoryGroup(w, w.org, id)
	if err != nil || !found {
		return err
	}
	if err := w.delete(nameRow(rowDirectoryGroupName, w.org, g.Name)); err != nil {
		return err
	}
	change(&g)
	return w.putGroup(g)
}

func (w directoryWriter) removeGroup(id domain.GroupID) error {
	g, found, err := loadDirectoryGroup(w, w.org, id)
	if err != nil || !found {
		return err
	}
	b := id.Bytes()
	for _, row := range [][]byte{nameRow(rowDirectoryGroupName, w.org, g.Name), directoryKey(rowDirectoryGroupNumber, w.org, number(g.Number)), directoryKey(rowDirectoryGroup, w.org, b[:])} {
		if err := w.delete(row); err != nil {
			return err
		}
	}
	return nil
}

func (w directoryWriter) changeMembers(e domain.DirectoryGroupMembersChanged) error {
	g := e.Group.Bytes()
	for _, user := range e.Added {
		u := user.Bytes()
		err := w.set(directoryKey(rowDirectoryMember, w.org, g[:], u[:]), nil)
		if err == nil {
			err = w.changeGroups(user, func(groups []domain.GroupID) []domain.GroupID { return append(groups, e.Group) })
		}
		if err != nil {
			return err
		}
	}
	for _, user := range e.Removed {
		u := user.Bytes()
		err := w.delete(directoryKey(rowDirectoryMember, w.org, g[:], u[:]))
		if err == nil {
			err = w.changeGroups(user, func(groups []domain.GroupID) []domain.GroupID {
				return slices.DeleteFunc(groups, func(id domain.GroupID) bool { return id == e.Group })
			})
		}
		if err != nil {
			return err
		}
	}
	return w.changeGroup(e.Group, func(g *DirectoryGroupRow) {
		g.Size += len(e.Added) - len(e.Removed)
		g.UpdatedAt = e.At
	})
}

// changeGroups changes the groups that the row of a user has. No other row follows from them.
func (w directoryWriter) changeGroups(id domain.UserID, change func([]domain.GroupID) []domain.GroupID) error {
	u, found, err := loadDirectoryUser(w, w.org, id)
	if err != nil || !found {
		return err
	}
	u.Groups = change(u.Groups)
	b := id.Bytes()
	return setJSON(w, directoryKey(rowDirectoryUser, w.org, b[:]), nil, u)
}

// Directory is an organization's directory as a command needs it: beside settings and counts, those
// users, and those groups with which of the users is in them, and who has those names.
func (s *Store) Directory(org domain.OrgID, about domain.DirectoryPart) (d domain.Directory, revision eventstore.Position, err error) {
	o := org.Bytes()
	err = s.directories.read(func(r rows) (err error) {
		if d, revision, err = loadDirectory(r, o); err != nil {
			return err
		}
		users, groups := about.Users, about.Groups
		if id, found, err := namedID(r, nameRow(rowDirectoryName, o, about.UserName)); err != nil {
			return err
		} else if found {
			users = append(slices.Clone(users), domain.UserIDFromBytes(id))
		}
		if id, found, err := namedID(r, nameRow(rowDirectoryGroupName, o, about.GroupName)); err != nil {
			return err
		} else if found {
			groups = append(slices.Clone(groups), domain.GroupIDFromBytes(id))
		}
		return know(r, o, &d, users, groups)
	})
	return d, revision, err
}

// know adds users and groups to a directory.
func know(r rows, org [idSize]byte, d *domain.Directory, users []domain.UserID, groups []domain.GroupID) error {
	knownUsers, knownGroups := map[domain.UserID]domain.DirectoryUser{}, map[domain.GroupID]domain.DirectoryGroup{}
	members := map[domain.GroupID]map[domain.UserID]bool{}
	for _, id := range users {
		u, found, err := loadDirectoryUser(r, org, id)
		if err != nil {
			return err
		}
		if !found {
			continue
		}
		knownUsers[id] = u.DirectoryUser
		for _, g := range u.Groups {
			if members[g] == nil {
				members[g] = map[domain.UserID]bool{}
			}
			members[g][id] = true
		}
	}
	for _, id := range groups {
		g, found, err := loadDirectoryGroup(r, org, id)
		if err != nil {
			return err
		}
		if found {
			g.Members = members[id]
			knownGroups[id] = g.DirectoryGroup
		}
	}
	d.Know(knownUsers, knownGroups)
	return nil
}

func namedID(r rowMap, row []byte) (id [idSize]byte, found bool, err error) {
	found, err = r.get(row, func(v []byte) error { id = [idSize]byte(v); return nil })
	return id, found, err
}

// DirectorySettings are those of an organization's directory, and its revision.
func (s *Store) DirectorySettings(org domain.OrgID) (domain.DirectorySettings, eventstore.Position, error) {
	d, revision, err := s.Directory(org, domain.DirectoryPart{})
	return d.DirectorySettings, revision, err
}

// DirectoryUser finds a user of an organization's directory, and their groups; domain.ErrUserNotFound.
func (s *Store) DirectoryUser(org domain.OrgID, id domain.UserID) (u DirectoryUserRow, groups []DirectoryGroupRow, err error) {
	o := org.Bytes()
	err = s.directories.read(func(r rows) error {
		found := false
		if u, found, err = loadDirectoryUser(r, o, id); err != nil {
			return err
		}
		if !found {
			return domain.ErrUserNotFound
		}
		for _, id := range u.Groups {
			g, _, err := loadDirectoryGroup(r, o, id)
			if err != nil {
				return err
			}
			groups = append(groups, g)
		}
		return nil
	})
	return u, groups, err
}

// GroupsOfUser are the groups of an organization's directory that a user is in.
func (s *Store) GroupsOfUser(org domain.OrgID, id domain.UserID) (names []domain.DirectoryGroupName, err error) {
	_, groups, err := s.DirectoryUser(org, id)
	if errors.Is(err, domain.ErrUserNotFound) {
		return nil, nil // the read model has not come so far: the user is in none yet
	}
	for _, g := range groups {
		names = append(names, g.DirectoryGroupName)
	}
	return names, err
}

// UserOfDirectory finds the user whom an organization's own directory or provider has with an
// address: outside of it the address is no claim.
func (s *Store) UserOfDirectory(org domain.OrgID, email string) (user domain.UserID, found bool, err error) {
	err = s.directories.read(func(r rows) error {
		id, ok, err := namedID(r, emailRow(org.Bytes(), email))
		user, found = domain.UserIDFromBytes(id), ok
		return err
	})
	return user, found, err
}

// UserKnownAs is the one user whom an organization's directory has with one of these ids as
// externalId, or else an address; "" if there is none, or more than one.
func (s *Store) UserKnownAs(org domain.OrgID, ids []string, email string) (domain.UserID, error) {
	queries := []DirectoryQuery{}
	for _, id := range ids {
		queries = append(queries, DirectoryQuery{ExternalID: id, Limit: 1})
	}
	for _, q := range append(queries, DirectoryQuery{Name: email, Limit: 1}, DirectoryQuery{Email: email, Limit: 1}) {
		if q.all() {
			continue
		}
		users, total, err := s.DirectoryUsers(org, q)
		if err != nil {
			return "", err
		}
		if total == 1 {
			return users[0].ID, nil
		}
	}
	return "", nil
}

// A DirectoryQuery chooses users, or groups, of a directory by what is not empty.
type DirectoryQuery struct {
	ID         string
	Name       string // a user's user name, a group's name
	ExternalID string
	Email      string
	Member     string // of groups: a user who is in it
	Start      int    // the place of the first of the page, from 1
	Limit      int
}

// all reports whether q chooses everything.
func (q *DirectoryQuery) all() bool {
	return q.ID == "" && q.Name == "" && q.ExternalID == "" && q.Email == "" && q.Member == ""
}

// cut is the page of what was chosen.
func cut[T any](q DirectoryQuery, chosen []T) []T {
	from := min(max(q.Start, 1)-1, len(chosen))
	return chosen[from:min(from+q.Limit, len(chosen))]
}

// numbered are the ids of a page of rows with numbers.
func (r rows) numbered(kind byte, org [idSize]byte, q DirectoryQuery) (ids [][idSize]byte, err error) {
	place := 0
	err = r.each(directoryKey(kind, org), func(_, v []byte) error {
		if place++; place < q.Start {
			return nil
		}
		if len(ids) == q.Limit {
			return errEnough
		}
		ids = append(ids, [idSize]byte(v))
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return ids, err
}

// DirectoryUsers are a page of the users that q chooses, in the order of their creation, and how many
// it chooses in all.
func (s *Store) DirectoryUsers(org domain.OrgID, q DirectoryQuery) (page []DirectoryUserRow, total int, err error) {
	o := org.Bytes()
	err = s.directories.read(func(r rows) error {
		if q.all() {
			d, _, err := loadDirectory(r, o)
			if err != nil {
				return err
			}
			total = d.UserCount
			ids, err := r.numbered(rowDirectoryUserNumber, o, q)
			if err != nil {
				return err
			}
			page, err = r.directoryUsers(o, ids)
			return err
		}
		ids, err := r.candidateUsers(o, q)
		if err != nil {
			return err
		}
		found, err := r.directoryUsers(o, ids)
		found = slices.DeleteFunc(found, func(u DirectoryUserRow) bool { return !q.choosesUser(&u) })
		page, total = cut(q, found), len(found)
		return err
	})
	return page, total, err
}

func (r rows) directoryUsers(org [idSize]byte, ids [][idSize]byte) (all []DirectoryUserRow, err error) {
	for _, id := range ids {
		u, found, err := loadDirectoryUser(r, org, domain.UserIDFromBytes(id))
		if err != nil {
			return nil, err
		}
		if found {
			all = append(all, u)
		}
	}
	return all, nil
}

// candidateUsers are those that one of q's conditions finds.
func (r rows) candidateUsers(org [idSize]byte, q DirectoryQuery) (ids [][idSize]byte, err error) {
	switch {
	case q.ID != "":
		id, err := domain.ParseUserID(q.ID)
		if err != nil {
			return nil, nil
		}
		return [][idSize]byte{id.Bytes()}, nil
	case q.ExternalID != "":
		err = r.each(directoryKey(rowDirectoryExternal, org, text(q.ExternalID)), func(_, v []byte) error {
			ids = append(ids, [idSize]byte(v))
			return nil
		})
		return ids, err
	}
	index := nameRow(rowDirectoryName, org, q.Name)
	if q.Name == "" {
		index = emailRow(org, q.Email)
	}
	id, found, err := namedID(r, index)
	if found {
		ids = append(ids, id)
	}
	return ids, err
}

func (q *DirectoryQuery) choosesUser(u *DirectoryUserRow) bool {
	return (q.ID == "" || q.ID == string(u.ID)) && (q.Name == "" || domain.FoldName(q.Name) == domain.FoldName(u.UserName)) &&
		(q.ExternalID == "" || q.ExternalID == u.ExternalID) && (q.Email == "" || domain.FoldName(q.Email) == domain.FoldName(u.Email))
}

// DirectoryGroup finds a group of an organization's directory; domain.ErrGroupNotFound.
func (s *Store) DirectoryGroup(org domain.OrgID, id domain.GroupID) (g DirectoryGroupRow, err error) {
	err = s.directories.read(func(r rows) error {
		found := false
		if g, found, err = loadDirectoryGroup(r, org.Bytes(), id); err == nil && !found {
			err = domain.ErrGroupNotFound
		}
		return err
	})
	return g, err
}

// DirectoryGroups are a page of the groups that q chooses, in the order of their creation, and how
// many it chooses in all. There are few: all are looked at.
func (s *Store) DirectoryGroups(org domain.OrgID, q DirectoryQuery) (page []DirectoryGroupRow, total int, err error) {
	o := org.Bytes()
	err = s.directories.read(func(r rows) error {
		every := q
		every.Start, every.Limit = 1, -1
		ids, err := r.numbered(rowDirectoryGroupNumber, o, every)
		if err != nil {
			return err
		}
		var found []DirectoryGroupRow
		for _, id := range ids {
			g, ok, err := loadDirectoryGroup(r, o, domain.GroupIDFromBytes(id))
			if err != nil {
				return err
			}
			if ok && q.choosesGroup(r, o, &g) {
				found = append(found, g)
			}
		}
		page, total = cut(q, found), len(found)
		return nil
	})
	return page, total, err
}

func (q *DirectoryQuery) choosesGroup(r rows, org [idSize]byte, g *DirectoryGroupRow) bool {
	if q.ID != "" && q.ID != string(g.ID) || q.Name != "" && domain.FoldName(q.Name) != domain.FoldName(g.Name) || q.ExternalID != "" && q.ExternalID != g.ExternalID {
		return false
	}
	if q.Member == "" {
		return true
	}
	group, user := g.ID.Bytes(), domain.UserID(q.Member).Bytes()
	found, err := r.get(directoryKey(rowDirectoryMember, org, group[:], user[:]), func([]byte) error { return nil })
	return found && err == nil
}

// DirectoryGroupMembers are the users of a group, by their ids.
func (s *Store) DirectoryGroupMembers(org domain.OrgID, group domain.GroupID) (all []DirectoryUserRow, err error) {
	o, g := org.Bytes(), group.Bytes()
	err = s.directories.read(func(r rows) error {
		var ids [][idSize]byte
		prefix := directoryKey(rowDirectoryMember, o, g[:])
		err := r.each(prefix, func(key, _ []byte) error {
			ids = append(ids, [idSize]byte(key[len(prefix):]))
			return nil
		})
		if err != nil {
			return err
		}
		all, err = r.directoryUsers(o, ids)
		return err
	})
	return all, err
}
