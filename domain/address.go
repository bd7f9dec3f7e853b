package domain

import (
	"net/mail"
	"strings"
	"time"
)

// An Address is an e-mail address of the installation: it is that of one user at most, by which they
// log in. It is claimed before a user has it, so that no two ever share one.
type Address struct {
	User UserID    // "": no user has it
	At   time.Time // when it was claimed
}

// AddressClaimed made an address a user's.
type AddressClaimed struct {
	Email string `json:"email"`
	User  UserID `json:"user_id"`
	Header
}

// AddressReleased let go of an address.
type AddressReleased struct {
	Email string `json:"email"`
	User  UserID `json:"user_id"`
	Header
}

// ClaimAddress asks for an address. Forgone is who claimed it before and, as their history says,
// does not have it and cannot get it by that claim any more; "": there is no such user.
type ClaimAddress struct {
	Principalled
	Email   string
	User    UserID
	Forgone UserID
}

// Claim decides whether the address may be the user's.
func (a Address) Claim(c ClaimAddress) (Event, error) {
	switch {
	case a.User == c.User:
		return nil, nil
	case a.User != "" && a.User != c.Forgone:
		return nil, ErrEmailTaken
	}
	return AddressClaimed{Email: c.Email, User: c.User, Header: c.header()}, nil
}

// ReleaseAddress asks to let go of an address.
type ReleaseAddress struct {
	Principalled
	Email string
	User  UserID
}

// Release decides whether the address is the user's, to be let go of.
func (a Address) Release(c ReleaseAddress) (Event, error) {
	if a.User != c.User {
		return nil, nil
	}
	return AddressReleased{Email: c.Email, User: c.User, Header: c.header()}, nil
}

// Apply moves a past e. It cannot fail and must not judge: e already happened.
func (a *Address) Apply(e Event) {
	switch e := e.(type) {
	case AddressClaimed:
		a.User, a.At = e.User, e.At
	case AddressReleased:
		*a = Address{}
	}
}

// maxEmail is how many bytes an e-mail address has at most: RFC 5321, section 4.5.3.1.3, less the
// angle brackets.
const maxEmail = 254

// NormalEmail is the one spelling of an e-mail address: without spaces around it, and in lower
// case. That is not what RFC 5321 says of the local part, and what every provider of mailboxes does.
// Only ASCII is taken, and looked for first: lower case would make ASCII of other letters, as of the
// sign for Kelvin, and two spellings of an address one.
func NormalEmail(text string) (string, error) {
	email := strings.TrimSpace(text)
	for _, r := range email {
		if r < ' ' || r > '~' {
			return "", InvalidField("email", "must be an e-mail address in ASCII; write the domain as xn--…")
		}
	}
	email = strings.ToLower(email)
	parsed, err := mail.ParseAddress(email)
	if err != nil || parsed.Address != email || len(email) > maxEmail || strings.ContainsAny(email, `"\<>() `) {
		return "", InvalidField("email", "must be an e-mail address like ada@example.com, of at most %d bytes", maxEmail)
	}
	return email, nil
}
