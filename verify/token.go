package verify

import (
	"strings"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/internal/token"
)

// findByToken looks up the key that a derived token stands for, as it is now: with the scopes that both
// have, and the earlier of their ends. A token of a keyspace that derives none any more, or one that is
// for another audience than is asked for, is not found.
func (v *Verifier) findByToken(r *Request, a *Answer) (found bool, err error) {
	if v.tokens == nil {
		return false, nil
	}
	if a.token, err = v.tokens.Check(r.Secret); err != nil || r.Audience != "" && r.Audience != a.token.Audience {
		return false, nil
	}
	if k, err := v.store.Keyspaces().Named(a.token.Keyspace); err != nil || k.Tokens == nil {
		return false, nil
	}
	found, err = v.store.CredentialMadeAt(domain.KeyID(a.token.Subject), a.token.Secret, r.By.Reach(), &a.Credential)
	if !found || err != nil {
		return false, err
	}
	a.ByToken = true
	c := &a.Credential
	c.Scopes = domain.SharedScopes(strings.Fields(a.token.Scope), c.Scopes)
	if ends := a.token.Expiry * 1000; c.ExpiresAt == 0 || ends < c.ExpiresAt {
		c.ExpiresAt = ends
	}
	return true, nil
}

// Token is what the derived token said that the answer is about, if it is about one.
func (a *Answer) Token() (c token.Claims, derived bool) { return a.token, a.ByToken }

// unchanged reports whether what a was evaluated with would be found again.
func (v *Verifier) unchanged(r *Request, a *Answer) (bool, error) {
	switch {
	case a.Credential.Session != "":
		return v.unchangedSession(r, a)
	case a.ByToken:
		return v.store.UnchangedMadeAt(a.token.Secret, &a.Credential)
	}
	return v.store.Unchanged(&a.digest, r.By.Reach(), &a.Credential)
}
