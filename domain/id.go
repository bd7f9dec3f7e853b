package domain

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"strings"
)

// An identifier is a kind prefix and 26 characters of lower-case Crockford base32 over
// 128 bits, as in the TypeID specification: key_01h455vb4pex5vsknk084sn02q. Every
// character is safe as a NATS subject token and in a Badger key.
type (
	// A KeyID names one key for ever, through every rotation.
	KeyID string
	// An OrgID names one organization.
	OrgID string
	// An OwnerID names one owner of keys of one organization.
	OwnerID string
	// A SinkID names one sink, also in the names of files and objects at receivers.
	SinkID string
)

const (
	keyPrefix    = "key_"
	orgPrefix    = "org_"
	ownerPrefix  = "own_"
	sinkPrefix   = "snk_"
	readerPrefix = "rdr_"
	idLength     = 26 // base32 characters of 128 bits
)

// Installation is the organization of the keys that serve every organization: the root
// key and what it makes without naming one. No organization can be created under it.
const Installation OrgID = "org_00000000000000000000000000"

var crockford = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// ParseKeyID is the only way from outside text to a KeyID.
func ParseKeyID(s string) (KeyID, error) {
	if _, ok := parseID(keyPrefix, s); !ok {
		return "", InvalidField("id", "a key id is key_ and 26 characters of 0-9 and a-z without i, l, o and u")
	}
	return KeyID(s), nil
}

// ParseOrgID is the only way from outside text to an OrgID.
func ParseOrgID(s string) (OrgID, error) {
	if _, ok := parseID(orgPrefix, s); !ok {
		return "", InvalidField("org_id", "an organization id is org_ and 26 characters of 0-9 and a-z without i, l, o and u")
	}
	return OrgID(s), nil
}

// ParseSinkID is the only way from outside text to a SinkID.
func ParseSinkID(s string) (SinkID, error) {
	if _, ok := parseID(sinkPrefix, s); !ok {
		return "", InvalidField("id", "a sink id is snk_ and 26 characters of 0-9 and a-z without i, l, o and u")
	}
	return SinkID(s), nil
}

// NewKeyID is the id of the key that the command creates for the organization. The same
// command yields the same id, so that a repeated create finds the key that the first one
// made. For another organization it yields another id: no two keys share one.
func NewKeyID(org OrgID, command string) KeyID { return KeyID(newID(keyPrefix, string(org), command)) }

// NewOrgID is the id of the organization that the command creates.
func NewOrgID(command string) OrgID { return OrgID(newID(orgPrefix, command)) }

// NewSinkID is the id of the sink that the command creates for the organization.
func NewSinkID(org OrgID, command string) SinkID {
	return SinkID(newID(sinkPrefix, string(org), command))
}

// NewOwnerID is the id of an owner, which follows from the organization and its name for it:
// that may have any characters.
func NewOwnerID(org OrgID, owner string) OwnerID {
	return OwnerID(newID(ownerPrefix, string(org), owner))
}

// NewReaderID is the id of a principal as a reader of the audit trail. It is not the
// principal's own: what a key reads is no part of that key's history.
func NewReaderID(org OrgID, principal string) string {
	return newID(readerPrefix, string(org), principal)
}

// OwnerBytes is NewOwnerID(org, owner).Bytes() without an allocation.
func OwnerBytes(org OrgID, owner string) [16]byte { return hash(ownerPrefix, string(org), owner) }

func newID(prefix string, parts ...string) string { return spell(prefix, hash(prefix, parts...)) }

// hash hashes each part with its length before it, so that no two lists of parts are hashed as
// the same bytes.
func hash(prefix string, parts ...string) [16]byte {
	b := append(make([]byte, 0, 512), prefix...)
	for _, p := range parts {
		b = append(binary.AppendUvarint(b, uint64(len(p))), p...)
	}
	sum := sha256.Sum256(b)
	return [16]byte(sum[:])
}

// Bytes is the id's 128 bits, for compact rows.
func (id KeyID) Bytes() [16]byte { b, _ := parseID(keyPrefix, string(id)); return b }

// Bytes is the id's 128 bits, for compact rows.
func (id OrgID) Bytes() [16]byte { b, _ := parseID(orgPrefix, string(id)); return b }

// Bytes is the id's 128 bits, for compact rows.
func (id OwnerID) Bytes() [16]byte { b, _ := parseID(ownerPrefix, string(id)); return b }

// Bytes is the id's 128 bits, for cursors.
func (id SinkID) Bytes() [16]byte { b, _ := parseID(sinkPrefix, string(id)); return b }

// KeyIDFromBytes is the inverse of KeyID.Bytes.
func KeyIDFromBytes(b [16]byte) KeyID { return KeyID(spell(keyPrefix, b)) }

// OrgIDFromBytes is the inverse of OrgID.Bytes.
func OrgIDFromBytes(b [16]byte) OrgID { return OrgID(spell(orgPrefix, b)) }

func spell(prefix string, bits [16]byte) string {
	var id [len(keyPrefix) + idLength]byte
	crockford.Encode(id[copy(id[:], prefix):], bits[:])
	return string(id[:])
}

// parseID accepts only the one spelling that encoding the bits gives back: base32 of 128
// bits has two spare bits in its last character, which would otherwise be aliases.
func parseID(prefix, s string) (bits [16]byte, ok bool) {
	text, found := strings.CutPrefix(s, prefix)
	if !found || len(text) != idLength {
		return bits, false
	}
	if n, err := crockford.Decode(bits[:], []byte(text)); err != nil || n != len(bits) {
		return bits, false
	}
	var again [idLength]byte
	crockford.Encode(again[:], bits[:])
	return bits, string(again[:]) == text
}
