package sso

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/keytrail/keytrail/domain"
)

// clockSkew is how far a provider's clock may be off.
const clockSkew = time.Minute

// Bounds of claims.
const (
	maxSubject = 255 // OpenID Connect Core, section 2
	maxName    = 200 // characters, as of any user
)

// A claims is the claims of a person by name.
type claims map[string]json.RawMessage

// text is a claim that is text, "" if it is none.
func (c claims) text(name string) (s string) {
	_ = json.Unmarshal(c[name], &s)
	return s
}

// texts is a claim that is a list of texts, or one text.
func (c claims) texts(name string) (all []string) {
	if json.Unmarshal(c[name], &all) == nil {
		return all
	}
	if one := c.text(name); one != "" {
		return []string{one}
	}
	return nil
}

// isTrue reports whether a claim is true, which some providers have as text.
func (c claims) isTrue(name string) (is bool) {
	return json.Unmarshal(c[name], &is) == nil && is || c.text(name) == "true"
}

// check holds an id token to the rules of OpenID Connect Core, section 3.1.3.7, and gives the claims
// of it and, if it lacks some that are needed, of the UserInfo endpoint.
func (p *Party) check(ctx context.Context, c *Client, at *provider, s *state, tokens *oauth2.Token) (claims, error) {
	text, _ := tokens.Extra("id_token").(string)
	if text == "" {
		return nil, errors.New("the token endpoint gave no id token")
	}
	verifier := oidc.NewVerifier(c.Issuer, keySet{p.providers, c.Issuer}, &oidc.Config{ClientID: c.ClientID, SupportedSigningAlgs: at.Algorithms,
		Now: func() time.Time { return p.now().Add(-clockSkew) }})
	token, err := verifier.Verify(ctx, text)
	if err != nil {
		return nil, err
	}
	var found claims
	if err := token.Claims(&found); err != nil {
		return nil, err
	}
	switch azp := found.text("azp"); {
	case subtle.ConstantTimeCompare([]byte(token.Nonce), []byte(s.Nonce)) != 1:
		return nil, errors.New("the id token is of another log-in: its nonce is another one")
	case azp != c.ClientID && (azp != "" || len(token.Audience) > 1):
		return nil, errors.New("the id token was made for another client: azp")
	case token.Issuer != c.Issuer: // the library lets Google's other spelling pass
		return nil, errors.New("the id token names another issuer")
	case token.IssuedAt.After(p.now().Add(clockSkew)):
		return nil, errors.New("the id token is of the future")
	case token.Subject == "" || len(token.Subject) > maxSubject || !plain(token.Subject):
		return nil, errors.New("the id token names no subject")
	case token.AccessTokenHash != "" && token.VerifyAccessToken(tokens.AccessToken) != nil:
		return nil, errors.New("the access token is not that of the id token: at_hash")
	}
	return found, p.complete(ctx, c, at, tokens.AccessToken, found)
}

// complete adds what a provider tells at the UserInfo endpoint alone, as it may (Core, section 5.4).
func (p *Party) complete(ctx context.Context, c *Client, at *provider, token string, found claims) error {
	_, groups := found[groupClaim(c)]
	if at.UserInfo == "" || found["email"] != nil && (groups || len(c.GroupRoles) == 0) {
		return nil
	}
	var more claims
	if err := p.providers.get(ctx, at.UserInfo, token, &more); err != nil {
		return fmt.Errorf("userinfo: %w", err)
	}
	if more.text("sub") != found.text("sub") {
		return errors.New("userinfo is of another subject")
	}
	if found["email"] != nil {
		delete(more, "email_verified") // it is about the other address
	}
	for name, value := range more {
		if found[name] == nil {
			found[name] = value
		}
	}
	return nil
}

func groupClaim(c *Client) string {
	if c.GroupClaim == "" {
		return "groups"
	}
	return c.GroupClaim
}

// assert makes what a code carries. A claim of which no user could be made counts as none.
func (p *Party) assert(c *Client, found claims) Assertion {
	a := Assertion{Code: random(), Identity: domain.Identity{Org: c.Org, Issuer: c.Issuer, Subject: found.text("sub")}, Revision: c.Revision,
		Role: c.RoleOf(found.texts(groupClaim(c))), Expires: p.now().Add(codeTTL)}
	if id := found.text("oid"); len(id) <= maxSubject {
		a.ObjectID = id
	}
	if email, err := domain.NormalEmail(found.text("email")); err == nil {
		a.Email, a.Verified = email, found.isTrue("email_verified")
	}
	if name := strings.TrimSpace(found.text("name")); plain(name) && utf8.RuneCountInString(name) <= maxName {
		a.Name = name
	}
	return a
}

// plain reports whether a text has what people read alone.
func plain(s string) bool {
	return utf8.ValidString(s) && !slices.ContainsFunc([]rune(s), func(r rune) bool { return !unicode.IsPrint(r) })
}
