package projections

import (
	"encoding/binary"
	"encoding/json"
	"net/netip"
	"time"

	"github.com/keytrail/keytrail/domain"
)

// A credential row is a list of entries, each with its length before it: organizations
// may import the same digest, and each then sees its own.
func cutEntry[T string | []byte](list T) (entry, rest T) {
	n := 4 + (int(list[0])<<24 | int(list[1])<<16 | int(list[2])<<8 | int(list[3]))
	return list[4:n], list[n:]
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
