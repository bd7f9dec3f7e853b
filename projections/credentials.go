package projections

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"net/netip"
	"runtime/debug"
	"slices"
	"time"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// A Credential is a key as one of its secrets' digests finds it, in one look-up.
type Credential struct {
	domain.Credential
	Owner    string
	Name     string
	Metadata string // as a JSON object

	entry string // what it was decoded from
}

// Credential finds the key with that digest which reach may see: its own, or for the
// installation the first that the ledger has. It puts it into c, whose slices it uses
// again, or tells that there is none.
func (s *Store) Credential(d *domain.Digest, reach domain.OrgID, c *Credential) (found bool, err error) {
	list, err := s.credentials(d)
	for len(list) > 0 {
		var entry string
		entry, list = cutEntry(list)
		if c.decode(entry); reach == domain.Installation || c.Org == reach {
			return true, nil
		}
	}
	return false, err
}

// Unchanged tells whether Credential with the same d and reach would put the same into c
// again.
func (s *Store) Unchanged(d *domain.Digest, reach domain.OrgID, c *Credential) (bool, error) {
	list, err := s.credentials(d)
	for len(list) > 0 {
		var entry string
		entry, list = cutEntry(list)
		if reach == domain.Installation || entryOrg(entry) == entryOrg(c.entry) {
			return entry == c.entry, nil
		}
	}
	return false, err
}

// credentials is the row of d, "" if there is none.
func (s *Store) credentials(d *domain.Digest) (list string, err error) {
	g := s.groups[eventstore.Events]
	list, cached := g.cache.find(d)
	if !cached {
		return g.lookUp(s.keys(), d)
	}
	return list, nil
}

// lookUp gives the row of d in the table of r, and puts it into the cache; "" if there is
// none.
func (g *group) lookUp(r *runner, d *domain.Digest) (list string, err error) {
	err = g.snapshot.view(func(tx *badger.Txn) error {
		var key [3 + 1 + len(d)]byte
		copy(key[copy(key[:], credentialPrefix(r)):], d[:])
		item, err := tx.Get(key[:])
		if err != nil {
			return err
		}
		return item.Value(func(v []byte) error {
			list = string(v)
			g.cache.put(d, v)
			return nil
		})
	})
	if errors.Is(err, badger.ErrKeyNotFound) {
		return "", nil
	}
	return list, err
}

func credentialPrefix(r *runner) []byte { return append(tablePrefix(r.currentTable()), rowCredential) }

// warmedAtOnce is how many rows are read while the snapshot is held.
const warmedAtOnce = 500

// warm fills the cache when the keys have caught up with the ledger, so that a restart is not
// followed by as many look-ups as there are keys. Who comes first is looked up all the same.
func (s *Store) warm(ctx context.Context, l *eventstore.Ledger) {
	end, err := l.End(ctx, eventstore.Events)
	if err != nil || s.WaitFor(ctx, end) != nil {
		return // those who read the ledger tell
	}
	g, r := s.groups[eventstore.Events], s.keys()
	for from := credentialPrefix(r); from != nil && ctx.Err() == nil && !g.cache.full(); {
		err := g.snapshot.view(func(tx *badger.Txn) (err error) {
			from, err = g.warmFrom(tx, credentialPrefix(r), from)
			return err
		})
		if err != nil {
			s.log.WarnContext(ctx, "the cache of credentials is not filled; they are looked up as they are used", "err", err)
			return
		}
	}
	debug.FreeOSMemory() // what the start needed for a moment
}

// warmFrom puts some rows into the cache and tells where the next ones begin; nil: nowhere.
func (g *group) warmFrom(tx *badger.Txn, prefix, from []byte) (next []byte, err error) {
	it := tx.NewIterator(badger.IteratorOptions{Prefix: prefix})
	defer it.Close()
	it.Seek(from)
	for range warmedAtOnce {
		if !it.Valid() {
			return nil, nil
		}
		d := domain.Digest(it.Item().Key()[len(prefix):])
		if err := it.Item().Value(func(v []byte) error { g.cache.put(&d, v); return nil }); err != nil {
			return nil, err
		}
		it.Next()
	}
	if !it.Valid() {
		return nil, nil
	}
	return it.Item().KeyCopy(nil), nil
}

// A credential row is a list of entries, each with its length before it: organizations
// may import the same digest, and each then sees its own.
func cutEntry[T string | []byte](list T) (entry, rest T) {
	n := 4 + (int(list[0])<<24 | int(list[1])<<16 | int(list[2])<<8 | int(list[3]))
	return list[4:n], list[n:]
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
		for len(v) > 0 {
			var e []byte
			if e, v = cutEntry(v); string(e[:16]) != string(bits[:]) {
				list = appendEntry(list, e)
			} else if entry != nil {
				list, placed = appendEntry(list, entry), true
			}
		}
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

// The layout of an entry: key id 16, org 16, state 1, whether the secret has ended 1, key's
// expiry 8, secret's end 8 (both milliseconds, 0 none), keyspace, owner, name, then counted lists of scopes, CIDRs and
// rate limits, then the metadata. Strings have their length in two bytes before them.
func encodeCredential(k domain.Key, s domain.KeySecret) []byte {
	id, org := k.ID.Bytes(), k.Org.Bytes()
	b := append(append(make([]byte, 0, 256), id[:]...), org[:]...)
	b = append(b, byte(k.State), flag(s.Ended))
	b = append(append(b, end(k.ExpiresAt)...), end(s.ValidUntil)...)
	b = appendText(appendText(appendText(b, k.Keyspace), k.Owner), k.Name)
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
	if len(k.Metadata) == 0 {
		return append(b, "{}"...)
	}
	metadata, err := json.Marshal(k.Metadata)
	if err != nil {
		panic(err) // strings alone
	}
	return append(b, metadata...)
}

// end is a time in milliseconds since the Unix epoch; 0: none.
func end(t time.Time) []byte {
	if t.IsZero() {
		return number(0)
	}
	return number(uint64(t.UnixMilli()))
}

func flag(set bool) byte {
	if set {
		return 1
	}
	return 0
}

func appendText(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

// entryOrg is the organization's bytes in an entry.
func entryOrg(e string) string { return e[16:32] }

// decode reads an entry that encodeCredential wrote. Its strings share e.
func (c *Credential) decode(e string) {
	c.entry = e
	c.Key = domain.KeyIDFromBytes([16]byte([]byte(e[:16])))
	c.Org = domain.OrgIDFromBytes([16]byte([]byte(e[16:32])))
	c.State = domain.State(e[32])
	c.Ended = e[33] == 1
	c.ExpiresAt, c.ValidUntil = int64(bigEndian(e[34:])), int64(bigEndian(e[42:]))
	c.Keyspace, e = cutText(e[50:])
	c.Owner, e = cutText(e)
	c.Name, e = cutText(e)
	c.Scopes, c.AllowedCIDRs, c.RateLimits = c.Scopes[:0], c.AllowedCIDRs[:0], c.RateLimits[:0]
	e = eachText(e, func(s string) { c.Scopes = append(c.Scopes, s) })
	e = eachText(e, func(s string) {
		if p, err := netip.ParsePrefix(s); err == nil {
			c.AllowedCIDRs = append(c.AllowedCIDRs, p)
		}
	})
	n := int(e[0])
	e = e[1:]
	for range n {
		c.RateLimits = append(c.RateLimits, domain.RateLimit{Limit: int64(bigEndian(e)), Window: domain.Duration(bigEndian(e[8:]))})
		e = e[16:]
	}
	c.Metadata = e
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

// eachText gives the texts of a counted list to f, and what comes after the list.
func eachText(s string, f func(string)) (rest string) {
	n := int(s[0])
	s = s[1:]
	for range n {
		var text string
		text, s = cutText(s)
		f(text)
	}
	return s
}
