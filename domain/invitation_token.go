package domain

import "strings"

// invitationTokenPrefix begins the token of an invitation, so that scanners for secrets find it.
const invitationTokenPrefix = "ktinv_"

// The bits of a token are those of the ids of the organization and the invitation, which tell where
// to look for it, and 256 random ones.
const invitationTokenBytes = 16 + 16 + 32

// MintInvitationToken makes a token of an invitation.
func MintInvitationToken(org OrgID, id InvitationID, random [32]byte) Secret {
	o, i := org.Bytes(), id.Bytes()
	b := append(append(append(make([]byte, 0, invitationTokenBytes), o[:]...), i[:]...), random[:]...)
	return NewSecret(invitationTokenPrefix + crockford.EncodeToString(b))
}

// ParseInvitationToken tells which invitation a token is of, if it is any.
func ParseInvitationToken(token Secret) (OrgID, InvitationID, error) {
	text, ok := strings.CutPrefix(token.Reveal(), invitationTokenPrefix)
	if !ok || len(text) != crockford.EncodedLen(invitationTokenBytes) {
		return "", "", ErrInvitationNotFound
	}
	b, err := crockford.DecodeString(text)
	if err != nil {
		return "", "", ErrInvitationNotFound
	}
	return OrgIDFromBytes([16]byte(b)), InvitationID(spell(invitationPrefix, [16]byte(b[16:]))), nil
}
