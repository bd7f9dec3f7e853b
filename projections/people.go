package projections

import (
	"encoding/json"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// The kinds of rows of the people table. A user's id is unique in the installation, so that rows of
// an organization's people begin with its id.
const (
	rowUser              = 'u' // user → revision, where their sessions ended, user
	rowUserByCreated     = 'c' // created, user
	rowAddress           = 'a' // address's id → user
	rowIdentity          = 'd' // hash of an identity → user
	rowMembers           = 'm' // organization → revision, members without people, invitations and scopes of roles
	rowRole              = 'r' // organization, name → scopes
	rowMember            = 'p' // organization, user → since, member; of one who was removed: no member
	rowMemberOfUser      = 'o' // user, organization: of those who are members
	rowMemberOf          = 'g' // organization, user: the same
	rowMemberByDirectory = 'x' // organization, hash of the directory's id → user
	rowInvitation        = 'i' // organization, invitation → invitation
	rowSession           = 's' // session → since, session
	rowSessions          = 'l' // user, organization → revision, sessions
)

// A peopleTable writes the rows of users, of the members of organizations and of sessions. They are
// one projection because a session is decided from all of them at one moment.
type peopleTable struct {
	directTable
	store    *Store
	outdated outdated // of the cache of people
	others   int      // how many of those it has no session can have been found by
}

func newPeopleTable(s *Store, state tableState) table {
	t := &peopleTable{directTable: directTable{tableState: state}, store: s, outdated: newOutdated(s.peopleCache)}
	t.write = t.writePeople
	return t
}

func (t *peopleTable) publishing(number uint64) {
	if t.outdated.all || len(t.outdated.rows) > t.others {
		t.store.sessionsAt.Store(number)
	}
	t.others = 0
	t.outdated.publishing(number)
}

func (t *peopleTable) writePeople(r rowMap, b eventstore.Batch) error {
	for i := range b.Records {
		if err := t.writePerson(r, &b.Records[i]); err != nil {
			return err
		}
	}
	return nil
}

func (t *peopleTable) writePerson(r rowMap, record *eventstore.Record) error {
	switch e := record.Event.(type) {
	case domain.UserCreated, domain.UserUpdated, domain.UserDisabled, domain.UserEnabled, domain.UserRemoved, domain.PasswordChanged, domain.PasswordResetRequested,
		domain.SessionsRevoked, domain.IdentityLinked, domain.IdentityUnlinked:
		return t.writeUser(r, record)
	case domain.AddressClaimed:
		id := e.User.Bytes()
		return r.set(addressRow(e.Email), id[:])
	case domain.AddressReleased:
		return r.delete(addressRow(e.Email))
	case domain.MembershipCreated, domain.MembershipUpdated, domain.MembershipRemoved, domain.RoleDefined, domain.RoleRemoved, domain.InvitationCreated, domain.InvitationTokenRotated, domain.InvitationRevoked:
		return t.writeMembers(r, record)
	case domain.SessionCreated, domain.SessionEnded:
		return t.writeSessions(r, record)
	}
	return nil // an event of another kind of aggregate
}

func setJSON(r rowMap, row, head []byte, value any) error {
	b, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return r.set(row, append(head, b...))
}
