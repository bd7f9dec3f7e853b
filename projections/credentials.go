package projections

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"time"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// A Credential is a key as one of its secrets' digests finds it, in one look-up.
type Credential struct {
	domain.Credential

	// Fragment is what a verification answers of the key, as JSON members ready to send:
	// "key_id":"…","org_id":…,"keyspace":…,"owner":…,"name":…,"scopes":[…],"expires_at":…,"metadata":{…}
	Fragment string
}

// Credential finds the key with that digest which reach may see: its own, or for the
// installation the first that the ledger has. It gives nil if there is none. What it gives
// is shared and must not be changed.
func (s *Store) Credential(d *domain.Digest, reach domain.OrgID) (*Credential, error) {
	g := s.groups[eventstore.Events]
	all := g.cache.find(d)
	if all == nil {
		var err error
		if all, err = g.credentials(s.keys(), d); err != nil {
			return nil, err
		}
	}
	for i := range all {
		if reach == domain.Installation || all[i].Org == reach {
			return &all[i], nil
		}
	}
	return nil, nil
}

// credentials looks d up in the table of r.
func (g *group) credentials(r *runner, d *domain.Digest) (all []Credential, err error) {
	err = g.snapshot.view(func(tx *badger.Txn) error {
		var key [3 + 1 + len(d)]byte
		key[0], key[3] = tableKeys, rowCredential
		binary.BigEndian.PutUint16(key[1:], r.currentTable())
		copy(key[4:], d[:])
		item, err := tx.Get(key[:])
		if err != nil {
			return err
		}
		return item.Value(func(v []byte) error {
			all = decodeCredentials(string(v))
			g.cache.put(d, all)
			return nil
		})
	})
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, nil
	}
	return all, err
}

// A credential row is a list of entries, each with its length before it: organizations
// may import the same digest, and each then sees its own.
func eachEntry(list []byte, f func(entry []byte) bool) {
	for len(list) > 0 {
		n := binary.BigEndian.Uint32(list)
		if !f(list[4 : 4+n]) {
			return
		}
		list = list[4+n:]
	}
}

// moveCredentials brings the credential rows of a key's secrets in line with its state.
// Secrets that the key has forgotten lose theirs.
func moveCredentials(r rows, before, after domain.Key) error {
	for _, s := range after.Secrets {
		if err := putCredential(r, s.Digest, after.ID, encodeCredential(after, s)); err != nil {
			return err
		}
	}
	for _, s := range before.Secrets {
		if !slices.ContainsFunc(after.Secrets, func(t domain.KeySecret) bool { return t.Digest == s.Digest }) {
			if err := putCredential(r, s.Digest, after.ID, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// putCredential puts entry in the place of the key's old one, or last; nil takes it out.
func putCredential(r rows, d domain.Digest, id domain.KeyID, entry []byte) error {
	key, bits := row(rowCredential, d[:]), id.Bytes()
	var list []byte
	placed := entry == nil
	if _, err := r.get(key, func(v []byte) error {
		eachEntry(v, func(e []byte) bool {
			if string(e[:16]) != string(bits[:]) {
				list = appendEntry(list, e)
			} else if entry != nil {
				list, placed = appendEntry(list, entry), true
			}
			return true
		})
		return nil
	}); err != nil {
		return err
	}
	if !placed {
		list = appendEntry(list, entry)
	}
	return setCredentials(r, d, list)
}

// setCredentials makes list the row of d, or takes it away if there is none.
func setCredentials(r rows, d domain.Digest, list []byte) error {
	if r.changed != nil {
		*r.changed = append(*r.changed, d)
	}
	if len(list) == 0 {
		return r.delete(row(rowCredential, d[:]))
	}
	return r.set(row(rowCredential, d[:]), list)
}

func appendEntry(list, entry []byte) []byte {
	return append(binary.BigEndian.AppendUint32(list, uint32(len(entry))), entry...)
}

// The layout of an entry: key id 16, org 16, state 1, key's expiry 8, secret's end 8 (both
// milliseconds, 0 none), keyspace, then counted lists of scopes, CIDRs and rate limits,
// then the fragment. Strings have their length in two bytes before them.
func encodeCredential(k domain.Key, s domain.KeySecret) []byte {
	id, org := k.ID.Bytes(), k.Org.Bytes()
	b := append(append(make([]byte, 0, 512), id[:]...), org[:]...)
	b = append(b, byte(k.State))
	b = append(append(b, moment(k.ExpiresAt)...), moment(s.ValidUntil)...)
	b = appendText(b, k.Keyspace)
	b = append(b, byte(len(k.Scopes)))
	for _, scope := range k.Scopes {
		b = appendText(b, scope)
	}
	b = append(b, byte(len(k.AllowedCIDRs)))
	for _, c := range k.AllowedCIDRs {
		b = appendText(b, c)
	}
	b = append(b, byte(len(k.RateLimits)))
	for _, l := range k.RateLimits {
		b = append(append(b, number(uint64(l.Limit))...), number(uint64(l.Window))...)
	}
	return append(b, fragment(k)...)
}

func appendText(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

// fragment renders what does not change between two events of the key.
func fragment(k domain.Key) []byte {
	f := struct {
		Key       domain.KeyID      `json:"key_id"`
		Org       *domain.OrgID     `json:"org_id"`
		Keyspace  string            `json:"keyspace"`
		Owner     string            `json:"owner"`
		Name      string            `json:"name"`
		Scopes    []string          `json:"scopes"`
		ExpiresAt *time.Time        `json:"expires_at"`
		Metadata  map[string]string `json:"metadata"`
	}{k.ID, nil, k.Keyspace, k.Owner, k.Name, k.Scopes, nil, k.Metadata}
	if k.Org != domain.Installation {
		f.Org = &k.Org
	}
	if !k.ExpiresAt.IsZero() {
		f.ExpiresAt = &k.ExpiresAt
	}
	if f.Scopes == nil {
		f.Scopes = []string{}
	}
	if f.Metadata == nil {
		f.Metadata = map[string]string{}
	}
	b, err := json.Marshal(f)
	if err != nil {
		panic(err) // strings and times alone
	}
	return b[1 : len(b)-1]
}

// decodeCredentials reads a row. Their strings share it.
func decodeCredentials(list string) (all []Credential) {
	for len(list) > 0 {
		n := int(list[0])<<24 | int(list[1])<<16 | int(list[2])<<8 | int(list[3])
		all = append(all, decodeCredential(list[4:4+n]))
		list = list[4+n:]
	}
	return all
}

// decodeCredential reads an entry that encodeCredential wrote.
func decodeCredential(e string) (c Credential) {
	c.Key = domain.KeyIDFromBytes([16]byte([]byte(e[:16])))
	c.Org = domain.OrgIDFromBytes([16]byte([]byte(e[16:32])))
	c.State = domain.State(e[32])
	c.ExpiresAt, c.ValidUntil = int64(bigEndian(e[33:])), int64(bigEndian(e[41:]))
	c.Keyspace, e = cutText(e[49:])
	c.Scopes, e = cutTexts(e)
	var cidrs []string
	cidrs, e = cutTexts(e)
	for _, s := range cidrs {
		if p, err := netip.ParsePrefix(s); err == nil {
			c.AllowedCIDRs = append(c.AllowedCIDRs, p)
		}
	}
	n := int(e[0])
	e = e[1:]
	for range n {
		c.RateLimits = append(c.RateLimits, domain.RateLimit{Limit: int64(bigEndian(e)), Window: domain.Duration(bigEndian(e[8:]))})
		e = e[16:]
	}
	c.Fragment = e
	return c
}

func bigEndian(s string) (n uint64) {
	for i := range 8 {
		n = n<<8 | uint64(s[i])
	}
	return n
}

func cutText(s string) (string, string) {
	n := int(s[0])<<8 | int(s[1])
	return s[2 : 2+n], s[2+n:]
}

func cutTexts(s string) (texts []string, rest string) {
	n := int(s[0])
	s = s[1:]
	if n > 0 {
		texts = make([]string, n)
	}
	for i := range texts {
		texts[i], s = cutText(s)
	}
	return texts, s
}
