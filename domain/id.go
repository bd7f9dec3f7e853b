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
	// A UserID names one person.
	UserID string
	// A SessionID names one session of a user.
	SessionID string
	// An InvitationID names one invitation of an organization.
	InvitationID string
	// A GroupID names one group of an organization's directory.
	GroupID string
)

const (
	keyPrefix        = "key_"
	orgPrefix        = "org_"
	ownerPrefix      = "own_"
	sinkPrefix       = "snk_"
	readerPrefix     = "rdr_"
	userPrefix       = "user_"
	sessionPrefix    = "ses_"
	invitationPrefix = "inv_"
	membersPrefix    = "mbr_"
	ssoPrefix        = "sso_"
	addressPrefix    = "adr_"
	groupPrefix      = "grp_"
	directoryPrefix  = "dir_"
	idLength         = 26 // base32 characters of 128 bits
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

// ParseUsedID reads the id of what can be used: of a key, or of a session.
func ParseUsedID(s string) (KeyID, error) {
	if _, ok := parseID(sessionPrefix, s); ok {
		return KeyID(s), nil
	}
	return ParseKeyID(s)
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

// ParseUserID is the only way from outside text to a UserID.
func ParseUserID(s string) (UserID, error) {
	if _, ok := parseID(userPrefix, s); !ok {
		return "", InvalidField("user_id", "a user's id is user_ and 26 characters of 0-9 and a-z without i, l, o and u")
	}
	return UserID(s), nil
}

// ParseSessionID is the only way from outside text to a SessionID.
func ParseSessionID(s string) (SessionID, error) {
	if _, ok := parseID(sessionPrefix, s); !ok {
		return "", InvalidField("id", "a session's id is ses_ and 26 characters of 0-9 and a-z without i, l, o and u")
	}
	return SessionID(s), nil
}

// ParseInvitationID is the only way from outside text to an InvitationID.
func ParseInvitationID(s string) (InvitationID, error) {
	if _, ok := parseID(invitationPrefix, s); !ok {
		return "", InvalidField("id", "an invitation's id is inv_ and 26 characters of 0-9 and a-z without i, l, o and u")
	}
	return InvitationID(s), nil
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

// ParseGroupID is the only way from outside text to a GroupID.
func ParseGroupID(s string) (GroupID, error) {
	if _, ok := parseID(groupPrefix, s); !ok {
		return "", InvalidField("id", "a group's id is grp_ and 26 characters of 0-9 and a-z without i, l, o and u")
	}
	return GroupID(s), nil
}

// NewGroupID is the id of the group that the command creates in the organization's directory.
func NewGroupID(org OrgID, command string) GroupID {
	return GroupID(newID(groupPrefix, string(org), command))
}

// DirectoryID is the id of the aggregate that is the directory of an organization.
func DirectoryID(org OrgID) string { return spell(directoryPrefix, org.Bytes()) }

// NewUserID is the id of the user that the command creates.
func NewUserID(command string) UserID { return UserID(newID(userPrefix, command)) }

// NewSessionID is the id of the session that the command begins.
func NewSessionID(command string) SessionID { return SessionID(newID(sessionPrefix, command)) }

// NewInvitationID is the id of the invitation that the command makes for the organization.
func NewInvitationID(org OrgID, command string) InvitationID {
	return InvitationID(newID(invitationPrefix, string(org), command))
}

// MembersID is the id of the aggregate that has the members of an organization.
func MembersID(org OrgID) string { return spell(membersPrefix, org.Bytes()) }

// SSOID is the id of the aggregate of an organization's single sign-on.
func SSOID(org OrgID) string { return spell(ssoPrefix, org.Bytes()) }

// AddressID is the id of the aggregate of an e-mail address, which follows from NormalEmail of it.
func AddressID(email string) string { return newID(addressPrefix, email) }

// NewOwnerID is the id of an owner, which follows from the organization and its name for it:
// that may have any characters.
func NewOwnerID(org OrgID, owner string) OwnerID {
	return OwnerID(newID(ownerPrefix, string(org), owner))
}

// Bytes are 128 bits that stand for the identity.
func (i Identity) Bytes() [16]byte { return hash("idn_", string(i.Org), i.Issuer, i.Subject) }

// NewReaderID is the id of a principal as a reader. It is not the principal's own: what a key
// reads is no part of that key's history.
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
func (id KeyID) Bytes() [16]byte {
	if id.IsSession() {
		b, _ := parseID(sessionPrefix, string(id))
		return b
	}
	b, _ := parseID(keyPrefix, string(id))
	return b
}

// NamesUser reports whether an owner, which is any text, looks like the id of a user.
func NamesUser(owner string) bool {
	return len(owner) == len(userPrefix)+idLength && strings.HasPrefix(owner, userPrefix)
}

// IsSession reports whether the id of what was used is that of a session.
func (id KeyID) IsSession() bool { return strings.HasPrefix(string(id), sessionPrefix) }

// Bytes is the id's 128 bits, for compact rows.
func (id OrgID) Bytes() [16]byte { b, _ := parseID(orgPrefix, string(id)); return b }

// Bytes is the id's 128 bits, for compact rows.
func (id OwnerID) Bytes() [16]byte { b, _ := parseID(ownerPrefix, string(id)); return b }

// Bytes is the id's 128 bits, for cursors.
func (id SinkID) Bytes() [16]byte { b, _ := parseID(sinkPrefix, string(id)); return b }

// Bytes is the id's 128 bits, for compact rows.
func (id UserID) Bytes() [16]byte { b, _ := parseID(userPrefix, string(id)); return b }

// Bytes is the id's 128 bits, for compact rows.
func (id SessionID) Bytes() [16]byte { b, _ := parseID(sessionPrefix, string(id)); return b }

// Bytes is the id's 128 bits, for cursors.
func (id InvitationID) Bytes() [16]byte { b, _ := parseID(invitationPrefix, string(id)); return b }

// Bytes is the id's 128 bits, for compact rows.
func (id GroupID) Bytes() [16]byte { b, _ := parseID(groupPrefix, string(id)); return b }

// GroupIDFromBytes is the inverse of GroupID.Bytes.
func GroupIDFromBytes(b [16]byte) GroupID { return GroupID(spell(groupPrefix, b)) }

// UserIDFromBytes is the inverse of UserID.Bytes.
func UserIDFromBytes(b [16]byte) UserID { return UserID(spell(userPrefix, b)) }

// SessionIDFromBytes is the inverse of SessionID.Bytes.
func SessionIDFromBytes(b [16]byte) SessionID { return SessionID(spell(sessionPrefix, b)) }

// KeyIDFromBytes is the inverse of KeyID.Bytes.
func KeyIDFromBytes(b [16]byte) KeyID { return KeyID(spell(keyPrefix, b)) }

// OrgIDFromBytes is the inverse of OrgID.Bytes.
func OrgIDFromBytes(b [16]byte) OrgID { return OrgID(spell(orgPrefix, b)) }

func spell(prefix string, bits [16]byte) string {
	var id [len(userPrefix) + idLength]byte // the longest there is
	crockford.Encode(id[copy(id[:], prefix):][:idLength], bits[:])
	return string(id[:len(prefix)+idLength])
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
