package projections

import (
	"encoding/json"
	"errors"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

func sessionRow(id domain.SessionID) []byte { b := id.Bytes(); return row(rowSession, b[:]) }

func sessionsRow(user domain.UserID, org domain.OrgID) []byte {
	u, o := user.Bytes(), eventstore.SessionsRef(org, user).Org.Bytes()
	return row(rowSessions, u[:], o[:])
}

func loadSessions(r rowMap, user domain.UserID, org domain.OrgID) (s domain.Sessions, revision eventstore.Position, err error) {
	_, err = r.get(sessionsRow(user, org), func(v []byte) error {
		n, v := cutNumber(v)
		revision = eventstore.Position(n)
		return json.Unmarshal(v, &s)
	})
	return s, revision, err
}

// writeSessions keeps the live sessions of a user in an organization as one row, and each as one of
// its own. Those whose time is over go when the user begins another one.
func (t *peopleTable) writeSessions(r rowMap, record *eventstore.Record) error {
	user := domain.UserID(record.Subject)
	s, _, err := loadSessions(r, user, record.Org)
	if err != nil {
		return err
	}
	before := s.Live
	s.Apply(record.Event)
	live := map[domain.SessionID]bool{}
	for _, x := range s.Live {
		live[x.ID] = true
	}
	for _, x := range before {
		if !live[x.ID] {
			t.outdated.add(idDigest(x.ID.Bytes()))
			if err := r.delete(sessionRow(x.ID)); err != nil {
				return err
			}
		}
	}
	if e, begun := record.Event.(domain.SessionCreated); begun {
		t.outdated.add(idDigest(e.ID.Bytes())) // it may have been looked for
		t.others++
		if err := setJSON(r, sessionRow(e.ID), number(uint64(record.Position)), s.Live[len(s.Live)-1]); err != nil {
			return err
		}
	}
	return setJSON(r, sessionsRow(user, record.Org), number(uint64(record.Position)), s)
}

// SessionsOf are a user's sessions in an organization, "": those in none, and their revision.
func (s *Store) SessionsOf(org domain.OrgID, user domain.UserID) (of domain.Sessions, revision eventstore.Position, err error) {
	err = s.people.read(func(r rows) (err error) {
		of, revision, err = loadSessions(r, user, org)
		return err
	})
	return of, revision, err
}

// A SessionRow is a session, and where it began.
type SessionRow struct {
	domain.Session
	since eventstore.Position
}

func (s *SessionRow) decode(v []byte) error {
	n, v := cutNumber(v)
	s.since = eventstore.Position(n)
	return json.Unmarshal(v, &s.Session)
}

// Session finds a session that did not end by an event of its own; domain.ErrSessionNotFound. Whether
// it is good, SessionCredential tells.
func (s *Store) Session(id domain.SessionID) (found SessionRow, err error) {
	err = s.people.read(func(r rows) error {
		_, err := r.get(sessionRow(id), found.decode)
		return err
	})
	if err == nil && found.ID == "" {
		err = domain.ErrSessionNotFound
	}
	return found, err
}

// Sessions are the sessions of a user in all organizations that are good, but for those whose time
// is over or whose organization is suspended.
func (s *Store) Sessions(user domain.UserID) (all []domain.Session, err error) {
	id := user.Bytes()
	var live []domain.Session
	err = s.people.read(func(r rows) error {
		return r.each(row(rowSessions, id[:]), func(_, v []byte) error {
			var of domain.Sessions
			_, v = cutNumber(v)
			err := json.Unmarshal(v, &of)
			live = append(live, of.Live...)
			return err
		})
	})
	for _, x := range live {
		var c Credential
		found, failed := s.SessionCredential(x.ID, &c)
		if found && c.State == domain.Active {
			all = append(all, x)
		}
		err = errors.Join(err, failed)
	}
	return all, err
}
