package token

// Claims are what a derived token says. Times are seconds since the Unix epoch.
type Claims struct {
	Issuer   string `json:"iss"`
	Subject  string `json:"sub"` // the key's id
	Audience string `json:"aud,omitempty"`
	Org      string `json:"org"`
	Keyspace string `json:"keyspace"`
	Owner    string `json:"owner,omitempty"`
	Scope    string `json:"scope"` // separated by spaces
	ID       string `json:"jti"`
	Secret   int64  `json:"sec"` // when the secret was made that it was derived with, in milliseconds
	IssuedAt int64  `json:"iat"`
	Expiry   int64  `json:"exp"`
}

// Sign makes a derived token.
func (i *Issuer) Sign(c Claims) (string, error) {
	c.Issuer = i.name
	return i.derived.sign(c)
}

// Check reads a derived token that this issuer signed, whatever its time.
func (i *Issuer) Check(text string) (Claims, error) {
	if headerOf(text) != i.derived.header { // before anything is allocated: it may be a session
		return Claims{}, ErrNotValid
	}
	return i.check(text)
}

func (i *Issuer) check(text string) (c Claims, err error) {
	if err := i.derived.check(text, &c); err != nil || c.Expiry <= 0 {
		return Claims{}, ErrNotValid
	}
	return c, nil
}
