package domain

import "strings"

// resetTokenPrefix begins the token of a password's reset, so that scanners for secrets find it.
const resetTokenPrefix = "ktpwr_"

// The bits of a token are those of the user's id, which tells where to look for it, and 256 random
// ones.
const resetTokenBytes = 16 + 32

// MintResetToken makes a token for the reset of a user's password.
func MintResetToken(u UserID, random [32]byte) Secret {
	id := u.Bytes()
	return NewSecret(resetTokenPrefix + crockford.EncodeToString(append(id[:], random[:]...)))
}

// ParseResetToken tells whose password a token is for, if it is any.
func ParseResetToken(token Secret) (UserID, error) {
	text, ok := strings.CutPrefix(token.Reveal(), resetTokenPrefix)
	if !ok || len(text) != crockford.EncodedLen(resetTokenBytes) {
		return "", ErrResetInvalid
	}
	b, err := crockford.DecodeString(text)
	if err != nil {
		return "", ErrResetInvalid
	}
	return UserIDFromBytes([16]byte(b)), nil
}
