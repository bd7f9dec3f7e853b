package projections

import (
	"encoding/json"
	"errors"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// A UserRow is one user. Revision is the position of its last event.
type UserRow struct {
	domain.User
	Revision eventstore.Position
	ended    eventstore.Position // where all earlier sessions ended, but for User.Ended.Kept
}

func (u *UserRow) decode(v []byte) error {
	n, v := cutNumber(v)
	ended, v := cutNumber(v)
	u.Revision, u.ended = eventstore.Position(n), eventstore.Position(ended)
	return json.Unmarshal(v, &u.User)
}

func userRow(id [idSize]byte) []byte { return row(rowUser, id[:]) }

func loadUser(r rowMap, id [idSize]byte) (u UserRow, err error) {
	_, err = r.get(userRow(id), u.decode)
	return u, err
}

func (t *peopleTable) writeUser(r rowMap, record *eventstore.Record) error {
	id := domain.UserID(record.Subject).Bytes()
	u, err := loadUser(r, id)
	if err != nil {
		return err
	}
	before := u.Ended
	u.Apply(record.Event)
	if u.Ended != before {
		if err := u.endSessions(r, before, record.Position); err != nil {
			return err
		}
	}
	if err := writeIdentity(r, id, record.Event); err != nil {
		return err
	}
	value, err := json.Marshal(u.User)
	if err != nil {
		return err
	}
	t.outdated.add(idDigest(id))
	head := append(number(uint64(record.Position)), number(uint64(u.ended))...)
	if err := r.set(userRow(id), append(head, value...)); err != nil {
		return err
	}
	return r.set(row(rowUserByCreated, moment(u.CreatedAt), id[:]), nil)
}

// endSessions notes that all sessions ended at a position. One that had ended before is not kept: who
// has it asked for that too late.
func (u *UserRow) endSessions(r rowMap, before domain.SessionsEnd, at eventstore.Position) error {
	var kept SessionRow
	if _, err := r.get(sessionRow(u.Ended.Kept), kept.decode); err != nil {
		return err
	}
	if kept.since <= u.ended && kept.ID != before.Kept {
		u.Ended.Kept = ""
	}
	u.ended = at
	return nil
}

// writeIdentity keeps whom an identity is of.
func writeIdentity(r rowMap, id [idSize]byte, e domain.Event) error {
	switch e := e.(type) {
	case domain.IdentityLinked:
		if other, err := identified(r, e.Identity, id); other || err != nil {
			return err
		}
		return r.set(identityRow(e.Identity), id[:])
	case domain.IdentityUnlinked:
		if other, err := identified(r, e.Identity, id); other || err != nil {
			return err
		}
		return r.delete(identityRow(e.Identity))
	}
	return nil
}

// identified reports whether an identity is another user's: of two who link it at once, the first has it.
func identified(r rowMap, i domain.Identity, id [idSize]byte) (other bool, err error) {
	_, err = r.get(identityRow(i), func(v []byte) error { other = string(v) != string(id[:]); return nil })
	return other, err
}

func addressRow(email string) []byte {
	return row(rowAddress, text(domain.AddressID(email)))
}

func identityRow(i domain.Identity) []byte {
	id := i.Bytes()
	return row(rowIdentity, id[:])
}

// User finds one user; domain.ErrUserNotFound. It has the password's hash, which no answer may show.
func (s *Store) User(id domain.UserID) (u UserRow, err error) {
	err = s.people.read(func(r rows) (err error) {
		u, err = loadUser(r, id.Bytes())
		return err
	})
	if err == nil && u.ID == "" {
		err = domain.ErrUserNotFound
	}
	return u, err
}

// UserByEmail finds the user whose address it is; domain.ErrUserNotFound. email is
// domain.NormalEmail of itself. One who has claimed the address and has another one is not found.
func (s *Store) UserByEmail(email string) (UserRow, error) {
	u, err := s.userBy(addressRow(email))
	if err == nil && u.Email != email {
		return UserRow{}, domain.ErrUserNotFound
	}
	return u, err
}

// Account is the user whose address it is, as UserByEmail has them.
func (s *Store) Account(email string) (u domain.User, found bool, err error) {
	row, err := s.UserByEmail(email)
	if errors.Is(err, domain.ErrUserNotFound) {
		return u, false, nil
	}
	return row.User, err == nil, err
}

// UserByIdentity finds the user whom a provider knows; domain.ErrUserNotFound.
func (s *Store) UserByIdentity(i domain.Identity) (UserRow, error) { return s.userBy(identityRow(i)) }

// Identified is the user whom a provider knows, as UserByIdentity has them.
func (s *Store) Identified(i domain.Identity) (u domain.User, found bool, err error) {
	row, err := s.UserByIdentity(i)
	if errors.Is(err, domain.ErrUserNotFound) {
		return u, false, nil
	}
	return row.User, err == nil, err
}

// UserNow is a user by their id.
func (s *Store) UserNow(id domain.UserID) (u domain.User, found bool, err error) {
	row, err := s.User(id)
	if errors.Is(err, domain.ErrUserNotFound) {
		return u, false, nil
	}
	return row.User, err == nil, err
}

// UserByDirectory finds the member whom an organization's directory has an id for;
// domain.ErrUserNotFound.
func (s *Store) UserByDirectory(org domain.OrgID, id string) (UserRow, error) {
	return s.userBy(directoryRow(org, id))
}

// userBy finds the user whose id another row has.
func (s *Store) userBy(pointer []byte) (u UserRow, err error) {
	err = s.people.read(func(r rows) error {
		var id [idSize]byte
		found, err := r.get(pointer, func(v []byte) error { copy(id[:], v); return nil })
		if err != nil || !found {
			return err
		}
		u, err = loadUser(r, id)
		return err
	})
	if err == nil && u.ID == "" { // an address can be claimed for a user who never came to be
		err = domain.ErrUserNotFound
	}
	return u, err
}

// Users lists them in the order of their creation, limit at a time. cursor is "" or what the page
// before answered as next, which is "" at the end.
func (s *Store) Users(cursor string, limit int) (page []UserRow, next string, err error) {
	from, err := parseCursor(cursor, "users")
	if err != nil {
		return nil, "", err
	}
	err = s.people.read(func(r rows) error {
		it := r.walk(span{prefix: row(rowUserByCreated), after: from.entry()})
		defer it.close()
		for ; it.valid; it.next() {
			if len(page) == limit {
				next = from.at(0, indexEntry{value: moment(page[limit-1].CreatedAt), id: page[limit-1].ID.Bytes()})
				return nil
			}
			u, err := loadUser(r, it.at.id)
			if err != nil {
				return err
			}
			page = append(page, u)
		}
		return nil
	})
	return page, next, err
}
