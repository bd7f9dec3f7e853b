package projections

import (
	"encoding/binary"
	"encoding/json"
	"net/netip"
	"time"

	"github.com/keytrail/keytrail/domain"
)

// A credential row is a list of credentials, each with its length in four bytes before it:
// organizations may import the same digest, and each then sees its own.
func cutCredential[T string | []byte](list T) (credential, rest T) {
	n := 4 + (int(list[0])<<24 | int(list[1])<<16 | int(list[2])<<8 | int(list[3]))
	return list[4:n], list[n:]
}

func appendCredential(list, credential []byte) []byte {
	return append(binary.BigEndian.AppendUint32(list, uint32(len(credential))), credential...)
}

// replaceCredential copies list with a credential in the place of that of its key, or last;
// nil: that of the key is left out.
func replaceCredential(list []byte, id domain.KeyID, credential []byte) (replaced []byte) {
	bits := id.Bytes()
	for len(list) > 0 {
		var c []byte
		switch c, list = cutCredential(list); {
		case [idSize]byte(c[credentialKey:]) != bits:
			replaced = appendCredential(replaced, c)
		case credential != nil:
			replaced = appendCredential(replaced, credential)
			credential = nil
		}
	}
	if credential != nil {
		replaced = appendCredential(replaced, credential)
	}
	return replaced
}

// The layout of a credential: these fields, then keyspace, environment, owner, name, then counted lists of
// scopes, CIDRs and rate limits, then the metadata as JSON. Texts have their length in two
// bytes before them, lists their number in one. Times are milliseconds, 0: none.
const (
	credentialKey     = 0
	credentialOrg     = credentialKey + 16
	credentialState   = credentialOrg + 16
	credentialEnded   = credentialState + 1 // the secret was rotated away without an overlap
	credentialExpires = credentialEnded + 1 // when the key does
	credentialUntil   = credentialExpires + 8
	credentialTexts   = credentialUntil + 8 // the first of them
)

const rateLimitSize = 8 + 8 // its limit and its window

func encodeCredential(k domain.Key, s domain.KeySecret) []byte {
	return appendSettings(appendCredentialHead(make([]byte, 0, 256), k.ID.Bytes(), k.Org.Bytes(), &k, s), &k)
}

// appendCredentialHead appends what comes before the texts.
func appendCredentialHead(b []byte, id, org [idSize]byte, k *domain.Key, s domain.KeySecret) []byte {
	b = append(append(b, id[:]...), org[:]...)
	b = append(b, byte(k.State), flag(s.Ended))
	return appendEnd(appendEnd(b, k.ExpiresAt), s.ValidUntil)
}

// noMetadata are those of a key that has none.
const noMetadata = "{}"

// appendSettings appends what a key's row and its credentials end with: keyspace, environment and
// all settings but the expiry.
func appendSettings(b []byte, k *domain.Key) []byte {
	s := &k.Settings
	b = appendText(appendText(appendText(appendText(b, k.Keyspace), k.Environment), s.Owner), s.Name)
	b = appendTexts(appendTexts(b, s.Scopes), s.AllowedCIDRs)
	b = append(b, byte(len(s.RateLimits)))
	for _, l := range s.RateLimits {
		b = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, uint64(l.Limit)), uint64(l.Window))
	}
	if len(s.Metadata) == 0 {
		return append(b, noMetadata...)
	}
	metadata, err := json.Marshal(s.Metadata)
	if err != nil {
		panic(err) // strings alone
	}
	return append(b, metadata...)
}

// appendEnd appends a time in milliseconds since the Unix epoch; 0: none.
func appendEnd(b []byte, t time.Time) []byte {
	var ms int64
	if !t.IsZero() {
		ms = t.UnixMilli()
	}
	return binary.BigEndian.AppendUint64(b, uint64(ms))
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

func appendTexts(b []byte, list []string) []byte {
	b = append(b, byte(len(list)))
	for _, s := range list {
		b = appendText(b, s)
	}
	return b
}

// encodedOrg is the organization's bytes in an encoded credential.
func encodedOrg(e string) string { return e[credentialOrg:credentialState] }

// OrgBytes is the organization; of a key, without spelling its id.
func (c *Credential) OrgBytes() [idSize]byte {
	if c.encoded == "" { // of a session that has ended
		return c.Org.Bytes()
	}
	return [idSize]byte([]byte(encodedOrg(c.encoded)))
}

// decode reads what encodeCredential wrote. The strings of c share e.
func (c *Credential) decode(e string) {
	c.encoded, c.ofSession = e, ofSession{}
	c.Key = domain.KeyIDFromBytes([idSize]byte([]byte(e[credentialKey:credentialOrg])))
	c.Org = domain.OrgIDFromBytes([idSize]byte([]byte(encodedOrg(e))))
	c.State = domain.State(e[credentialState])
	c.Ended = e[credentialEnded] == 1
	c.ExpiresAt, c.ValidUntil = int64(bigEndian(e[credentialExpires:])), int64(bigEndian(e[credentialUntil:]))
	c.Keyspace, e = cutText(e[credentialTexts:])
	c.Environment, e = cutText(e)
	c.Owner, e = cutText(e)
	c.Name, e = cutText(e)
	c.Scopes, c.AllowedCIDRs = c.Scopes[:0], c.AllowedCIDRs[:0]
	e = eachText(e, func(s string) { c.Scopes = append(c.Scopes, s) })
	e = eachText(e, func(s string) {
		if p, err := netip.ParsePrefix(s); err == nil {
			c.AllowedCIDRs = append(c.AllowedCIDRs, p)
		}
	})
	c.RateLimits, c.Metadata = cutRateLimits(c.RateLimits[:0], e)
}

// decodeSettings reads what appendSettings wrote, all but the metadata, which come last.
func (k *KeyRow) decodeSettings(e string) (metadata string) {
	k.Keyspace, e = cutText(e)
	k.Environment, e = cutText(e)
	k.Owner, e = cutText(e)
	k.Name, e = cutText(e)
	k.Scopes, e = appendCut(k.Scopes[:0], e)
	k.AllowedCIDRs, e = appendCut(k.AllowedCIDRs[:0], e)
	k.RateLimits, e = cutRateLimits(k.RateLimits[:0], e)
	return e
}

func cutRateLimits(limits []domain.RateLimit, e string) (_ []domain.RateLimit, rest string) {
	n := int(e[0])
	e = e[1:]
	for range n {
		limits = append(limits, domain.RateLimit{Limit: int64(bigEndian(e)), Window: domain.Duration(bigEndian(e[8:]))})
		e = e[rateLimitSize:]
	}
	return limits, e
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

// appendCut appends the texts of a counted list, and gives what comes after that.
func appendCut(list []string, s string) (_ []string, rest string) {
	rest = eachText(s, func(text string) { list = append(list, text) })
	return list, rest
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
