package projections

import (
	"encoding/binary"
	"encoding/json"
	"slices"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/internal/fastjson"
)

// The row of a key, whose id is in the row's key: the revision in eight bytes, how far before
// it the key came to be listed as it is, the organization in sixteen bytes, the state and the flags in one each; when it was created, expires, had its
// expiry recorded and was revoked; what the last notices were for; by whom it was created and revoked, why, and the comment;
// how often a leak was reported, and tokens derived lately;
// its secrets; then what its credentials end with as well, see appendSettings.
const (
	flagImported = 1 << iota
	flagRoot
)

func (k *KeyRow) encode() []byte { return k.appendTo(make([]byte, 0, 384)) }

func (k *KeyRow) appendTo(b []byte) []byte {
	org := k.Org.Bytes()
	b = binary.AppendUvarint(binary.BigEndian.AppendUint64(b, uint64(k.Revision)), uint64(k.Revision-k.Since))
	b = append(b, org[:]...)
	b = append(b, byte(k.State), flagImported*flag(k.Imported)|flagRoot*flag(k.Root))
	b = appendTime(appendTime(appendTime(appendTime(b, k.CreatedAt), k.ExpiresAt), k.RecordedExpiry), k.RevokedAt)
	b = appendTime(appendTime(b, k.NotedExpiry), k.NotedIdle)
	b = appendString(appendString(appendString(appendString(b, k.CreatedBy), k.RevokedBy), string(k.Reason)), k.Comment)
	b = binary.AppendUvarint(b, uint64(k.Leaks))
	b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(k.TokenMinute)), uint64(k.Tokens))
	b = append(b, byte(len(k.Secrets)))
	for _, s := range k.Secrets {
		b = append(append(b, s.Digest[:]...), flag(s.Ended))
		b = appendString(appendString(appendTime(appendTime(b, s.CreatedAt), s.ValidUntil), s.Prefix), string(s.Sealed))
	}
	return appendSettings(b, &k.Key)
}

// decode reads what encode wrote. The strings of k share v.
func (k *KeyRow) decode(id domain.KeyID, v string) (err error) {
	metadata, _ := k.decodeListed(id, v)
	if metadata == noMetadata {
		return nil
	}
	s := fastjson.NewScanner(metadata)
	k.Metadata = map[string]string{}
	if s.Object(func(name string) bool {
		var value string
		ok := s.String(&value)
		k.Metadata[name] = value
		return ok
	}) && s.End() {
		return nil
	}
	return json.Unmarshal([]byte(metadata), &k.Metadata)
}

// decodeListed reads all but the metadata, which no listing sorts or filters by, and gives them
// and the settings as they are encoded.
func (k *KeyRow) decodeListed(id domain.KeyID, v string) (metadata, settings string) {
	*k = KeyRow{}
	org, metadata, settings := k.decodeState(v)
	k.ID, k.Org = id, domain.OrgIDFromBytes(org)
	return metadata, settings
}

// decodeState is decodeListed without the ids, which take long to spell. It sets all else that
// is in the row, and takes the memory of the lists that k has.
func (k *KeyRow) decodeState(v string) (org [idSize]byte, metadata, settings string) {
	r := rowReader(v)
	k.Revision = eventstore.Position(bigEndian(r.cut(8)))
	k.Since = k.Revision - eventstore.Position(r.uvarint())
	copy(org[:], r.cut(idSize))
	k.State = domain.State(r.cut(1)[0])
	flags := r.cut(1)[0]
	k.Imported, k.Root = flags&flagImported != 0, flags&flagRoot != 0
	k.CreatedAt, k.ExpiresAt, k.RecordedExpiry, k.RevokedAt = r.time(), r.time(), r.time(), r.time()
	k.NotedExpiry, k.NotedIdle = r.time(), r.time()
	k.CreatedBy, k.RevokedBy, k.Reason, k.Comment = r.string(), r.string(), domain.Reason(r.string()), r.string()
	k.Leaks = int(r.uvarint())
	k.TokenMinute, k.Tokens = int64(r.uvarint()), int(r.uvarint())
	n := int(r.cut(1)[0])
	k.Secrets = slices.Grow(k.Secrets[:0], n)[:n]
	for i := range k.Secrets {
		s := &k.Secrets[i]
		copy(s.Digest[:], r.cut(len(s.Digest)))
		s.Ended = r.cut(1)[0] == 1
		s.CreatedAt, s.ValidUntil, s.Prefix, s.Sealed = r.time(), r.time(), r.string(), nil
		if sealed := r.string(); sealed != "" {
			s.Sealed = []byte(sealed)
		}
	}
	return org, k.decodeSettings(string(r)), string(r)
}

// appendString has its length before it, and appendTime what it takes to tell any two moments
// apart. 0: there is none.
func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(b, 0)
	}
	return binary.AppendVarint(binary.AppendUvarint(b, uint64(t.Nanosecond())+1), t.Unix())
}

// A rowReader is what is left of a row.
type rowReader string

func (r *rowReader) cut(n int) (s string) {
	s, *r = string((*r)[:n]), (*r)[n:]
	return s
}

func (r *rowReader) uvarint() (n uint64) {
	for shift := 0; ; shift += 7 {
		b := r.cut(1)[0]
		n |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return n
		}
	}
}

func (r *rowReader) string() string { return r.cut(int(r.uvarint())) }

func (r *rowReader) time() time.Time {
	nanoseconds := r.uvarint()
	if nanoseconds == 0 {
		return time.Time{}
	}
	n := r.uvarint()
	return time.Unix(int64(n>>1)^-int64(n&1), int64(nanoseconds)-1).UTC()
}
