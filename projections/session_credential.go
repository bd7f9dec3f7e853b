package projections

import (
	"crypto/sha256"
	"encoding/json"
	"strings"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// What a session may do follows from four rows, each in the cache of people in the form that is made
// here: of the session, its user, the user's membership and the organization's roles. A change of
// any of them counts at once for all sessions that it is about, however many.

// SessionsVersion is the Version since which nothing was published that a session hangs on: what was
// found of one at it, or later, would be found again. A session that began is no news of others, and
// most events are about no session at all.
func (s *Store) SessionsVersion() uint64 { return s.sessionsAt.Load() }

// SessionCredential puts the session into c as if it were a key: its scopes are those of the user's
// role, its owner is the user. Its state is Revoked if the user's sessions or the membership ended
// after it began, or the organization's single sign-on does not admit it, and Disabled if the user is. found is false for a session that is not there, or
// not any more.
func (s *Store) SessionCredential(id domain.SessionID, c *Credential) (found bool, err error) {
	session, err := s.personRow(idDigest(id.Bytes()), sessionFacts)
	if session == "" || err != nil {
		return false, err
	}
	org, user, since := c.decodeSession(id, session)
	who, err := s.personRow(idDigest(user), userFacts)
	if err != nil {
		return false, err
	}
	c.State = c.decodeUser(who, since)
	member, roles := "", ""
	if c.Org != "" {
		if member, err = s.personRow(memberDigest(org, user), memberFacts); err != nil {
			return false, err
		}
		c.decodeMember(member, since)
		if c.State == domain.Active && !s.admitted(c, since) {
			c.State = domain.Revoked
		}
		if _, builtIn := domain.BuiltInRole(c.Role); c.Role != "" && !builtIn {
			role := c.Role
			roles, err = s.personRow(roleDigest(c.Org, role), func(r rowMap, _ domain.Digest) ([]byte, error) { return roleFacts(r, c.Org, role) })
			c.decodeRole(roles)
		}
	}
	c.encoded = strings.Join([]string{session, who, member, roles}, "")
	return err == nil, err
}

// UnchangedSession reports whether SessionCredential would put the same into a credential again.
func (s *Store) UnchangedSession(c *Credential) (bool, error) {
	var again Credential
	found, err := s.SessionCredential(c.Session, &again)
	if !found {
		return c.encoded == "", err // it has not come back
	}
	return again.encoded == c.encoded && again.State == c.State, err
}

// Departed is the state that a key has because of its owner: Revoked if that is a user who was removed, or is no member
// of the organization any more, and Disabled if they are; otherwise Active. An owner who never was a
// member is none of this: owners are any text.
func (s *Store) Departed(org domain.OrgID, owner string) (domain.State, error) {
	id, err := domain.ParseUserID(owner)
	if err != nil {
		return domain.Active, nil
	}
	user := id.Bytes()
	who, err := s.personRow(idDigest(user), userFacts)
	if err != nil || who == "" {
		return domain.Active, err
	}
	if state := domain.State(who[0]); state != domain.Active {
		return state, nil
	}
	member, err := s.personRow(memberDigest(org.Bytes(), user), memberFacts)
	if err != nil || member == "" {
		return domain.Active, err
	}
	if role, _ := cutText(member[8:]); role == "" {
		return domain.Revoked, nil
	}
	return domain.Active, nil
}

// personRow gives a row of the cache of people, and puts it there; "" if there is none.
func (s *Store) personRow(d domain.Digest, facts func(rowMap, domain.Digest) ([]byte, error)) (string, error) {
	if row, cached := s.peopleCache.find(&d); cached {
		return row, nil
	}
	now := s.people.snapshot()
	defer now.release()
	row, err := facts(now.rows(s.people.slot), d)
	if err != nil {
		return "", err
	}
	s.peopleCache.put(now.number, &d, row)
	return string(row), nil
}

// memberDigest is what the cache finds a membership by. The user comes first: its beginning tells
// the members of an organization apart.
func memberDigest(org, user [idSize]byte) (d domain.Digest) {
	copy(d[copy(d[:], user[:]):], org[:])
	return d
}

// sessionFacts are the session, its organization or zeros, its user, where it began, when it began and ends, the issuer
// and the method.
func sessionFacts(r rowMap, d domain.Digest) ([]byte, error) {
	var s SessionRow
	found, err := r.get(row(rowSession, d[:idSize]), s.decode)
	if !found || err != nil {
		return nil, err
	}
	org, user := s.Org.Bytes(), s.User.Bytes()
	b := append(append(append([]byte{}, d[:idSize]...), org[:]...), user[:]...)
	b = append(b, flag(s.Org != ""))
	b = append(b, number(uint64(s.since))...)
	b = appendEnd(appendEnd(b, s.CreatedAt), s.ExpiresAt)
	return appendText(appendText(b, s.Issuer), string(s.Method)), nil
}

// decodeSession reads sessionFacts, which begin like a key's credential.
func (c *Credential) decodeSession(id domain.SessionID, e string) (org, user [idSize]byte, since eventstore.Position) {
	org, user = [idSize]byte([]byte(e[idSize:2*idSize])), [idSize]byte([]byte(e[2*idSize:3*idSize]))
	*c = Credential{Credential: domain.Credential{Key: domain.KeyID(id), Scopes: c.Scopes[:0]}, Metadata: noMetadata}
	c.Session, c.User = id, domain.UserIDFromBytes(user)
	c.Owner = string(c.User)
	e = e[3*idSize:]
	if e[0] == 1 {
		c.Org = domain.OrgIDFromBytes(org)
	}
	since = eventstore.Position(bigEndian(e[1:]))
	c.CreatedAt, c.ExpiresAt = time.UnixMilli(int64(bigEndian(e[9:]))), int64(bigEndian(e[17:]))
	c.Issuer, e = cutText(e[25:])
	method, _ := cutText(e)
	c.Method = domain.SessionMethod(method)
	return org, user, since
}

// userFacts are the user's state, where their sessions ended, the one that did not, the address and the name.
func userFacts(r rowMap, d domain.Digest) ([]byte, error) {
	u, err := loadUser(r, [idSize]byte(d[:idSize]))
	if u.ID == "" || err != nil {
		return nil, err
	}
	states := map[domain.UserStatus]domain.State{domain.ActiveUser: domain.Active, domain.DisabledUser: domain.Disabled, domain.RemovedUser: domain.Revoked}
	kept := u.Ended.Kept.Bytes()
	b := append([]byte{byte(states[u.Status()])}, number(uint64(u.ended))...)
	return appendText(appendText(append(b, kept[:]...), u.Email), u.User.Name), nil
}

// decodeUser reads userFacts, and gives the session's state.
func (c *Credential) decodeUser(e string, since eventstore.Position) domain.State {
	if e == "" {
		return domain.Revoked
	}
	var text string
	c.Name, text = cutText(e[9+idSize:])
	c.UserName, _ = cutText(text)
	switch state, ended := domain.State(e[0]), eventstore.Position(bigEndian(e[1:])); {
	case state != domain.Active:
		return state
	case since <= ended && c.Session != domain.SessionIDFromBytes([idSize]byte([]byte(e[9:9+idSize]))):
		return domain.Revoked
	}
	return domain.Active
}

// memberFacts are where the user became a member, or ceased to be one, and the role.
func memberFacts(r rowMap, d domain.Digest) ([]byte, error) {
	m, since, err := loadMember(r, domain.OrgIDFromBytes([idSize]byte(d[idSize:])), domain.UserIDFromBytes([idSize]byte(d[:idSize])))
	if since == 0 || err != nil {
		return nil, err
	}
	return appendText(number(uint64(since)), m.Role), nil
}

// decodeMember reads memberFacts.
func (c *Credential) decodeMember(e string, since eventstore.Position) {
	if e != "" {
		c.Role, _ = cutText(e[8:])
	}
	if c.Role == "" || since <= eventstore.Position(bigEndian(e)) {
		c.Role = ""
		if c.State == domain.Active {
			c.State = domain.Revoked
		}
	}
	scopes, _ := domain.BuiltInRole(c.Role)
	c.Scopes = append(c.Scopes, scopes...)
}

// roleDigest is what the cache finds a role of an organization by.
func roleDigest(org domain.OrgID, name string) domain.Digest {
	return sha256.Sum256([]byte(string(org) + name))
}

// roleFacts are the scopes of a role of an organization.
func roleFacts(r rowMap, org domain.OrgID, name string) ([]byte, error) {
	var scopes []string
	_, err := r.get(roleRow(org, name), func(v []byte) error { return json.Unmarshal(v, &scopes) })
	return appendTexts(nil, scopes), err
}

// decodeRole reads roleFacts.
func (c *Credential) decodeRole(e string) {
	if e != "" {
		c.Scopes, _ = appendCut(c.Scopes, e)
	}
}
