package projections

import (
	"errors"
	"time"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/keytrail/keytrail/domain"
)

// A Credential is a key as one of its secrets' digests finds it, in one look-up; or a session.
type Credential struct {
	domain.Credential
	Environment string
	Owner       string // of a session: the user's id
	Name        string // of a session: the user's e-mail address
	Metadata    string // as a JSON object
	ofSession

	encoded string // what it was decoded from
}

// Copy puts from into c, whose slices it uses again: from can be shared by readers.
func (c *Credential) Copy(from *Credential) {
	scopes, networks, limits := c.Scopes[:0], c.AllowedCIDRs[:0], c.RateLimits[:0]
	*c = *from
	c.Scopes, c.AllowedCIDRs, c.RateLimits = append(scopes, from.Scopes...), append(networks, from.AllowedCIDRs...), append(limits, from.RateLimits...)
}

// ofSession is what a session has beside.
type ofSession struct {
	Session   domain.SessionID // "": it is a key
	User      domain.UserID
	UserName  string
	Role      string // in Org; "": the user is no member, or the session has no organization
	Issuer    string // of the provider that the user came by; "": none
	Method    domain.SessionMethod
	CreatedAt time.Time
}

// Credential finds the key with that digest within reach and puts it into c, whose slices it
// uses again. Where reach has several organizations with the digest, it is the key that came
// first on the ledger.
func (s *Store) Credential(d *domain.Digest, reach domain.Reach, c *Credential) (found bool, err error) {
	list, err := s.credentialRow(d)
	for len(list) > 0 {
		var encoded string
		encoded, list = cutCredential(list)
		c.decode(encoded)
		if reach.Includes(c.Org) {
			return true, nil
		}
	}
	return false, err
}

// Credentials are the keys with that digest, of all organizations.
func (s *Store) Credentials(d *domain.Digest) (all []Credential, err error) {
	list, err := s.credentialRow(d)
	for len(list) > 0 {
		var encoded string
		encoded, list = cutCredential(list)
		var c Credential
		c.decode(encoded)
		all = append(all, c)
	}
	return all, err
}

// Unchanged reports whether Credential with the same d and reach would put the same into c
// again.
func (s *Store) Unchanged(d *domain.Digest, reach domain.Reach, c *Credential) (bool, error) {
	list, err := s.credentialRow(d)
	for len(list) > 0 {
		var encoded string
		encoded, list = cutCredential(list)
		if reach.All || encodedOrg(encoded) == encodedOrg(c.encoded) {
			return encoded == c.encoded, nil
		}
	}
	return false, err
}

// CredentialMadeAt is Credential for a key's id, and the moment at which its secret was made.
func (s *Store) CredentialMadeAt(id domain.KeyID, ms int64, reach domain.Reach, c *Credential) (found bool, err error) {
	encoded, err := s.credentialMadeAt(id, ms)
	if encoded == "" || err != nil {
		return false, err
	}
	c.decode(encoded)
	return reach.Includes(c.Org), nil
}

// UnchangedMadeAt reports whether CredentialMadeAt of c's key would put the same into c again.
func (s *Store) UnchangedMadeAt(ms int64, c *Credential) (bool, error) {
	encoded, err := s.credentialMadeAt(c.Key, ms)
	return encoded == c.encoded, err
}

// credentialMadeAt is a key as that secret would find it; "" if there is none.
func (s *Store) credentialMadeAt(id domain.KeyID, ms int64) (string, error) {
	k, err := s.KeyState(domain.All, id)
	if errors.Is(err, domain.ErrKeyNotFound) {
		return "", nil
	}
	secret, known := k.SecretMadeAt(ms)
	if !known || err != nil {
		return "", err
	}
	return string(encodeCredential(k.Key, secret)), nil
}

// credentialRow is the row of d, "" if there is none.
func (s *Store) credentialRow(d *domain.Digest) (list string, err error) {
	list, cached := s.credentials.find(d)
	if !cached {
		return s.lookUp(d)
	}
	return list, nil
}

// lookUp gives the row of d, and puts it into the cache; "" if there is none.
func (s *Store) lookUp(d *domain.Digest) (list string, err error) {
	now := s.keys.snapshot()
	defer now.release()
	item, err := now.tx.Get(append(credentialPrefix(now.rows(s.keys.slot)), d[:]...))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	err = item.Value(func(v []byte) error {
		list = string(v)
		s.credentials.put(now.number, d, v)
		return nil
	})
	return list, err
}

// credentialPrefix is what the Badger keys of credential rows begin with. It has room for a
// digest.
func credentialPrefix(r rows) []byte {
	const size = tableKeyHead + 1 + len(domain.Digest{})
	return append(appendTablePrefix(make([]byte, 0, size), r.table), rowCredential)
}
