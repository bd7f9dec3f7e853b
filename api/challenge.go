package api

import (
	"net/http"
	"slices"
	"strings"

	"github.com/keytrail/keytrail/domain"
)

// bearerErrors are the cases that are about the credential, with their error codes of RFC 6750,
// section 3.1. A request without a credential gets none.
var bearerErrors = map[domain.ReplyCase]string{
	domain.ReplyMissing:                           "",
	domain.ReplyMalformed:                         "invalid_request",
	domain.ReplyCase(domain.UseNotFound):          "invalid_token",
	domain.ReplyCase(domain.UseRevoked):           "invalid_token",
	domain.ReplyCase(domain.UseExpired):           "invalid_token",
	domain.ReplyCase(domain.UseDisabled):          "invalid_token",
	domain.ReplyCase(domain.UseInsufficientScope): "insufficient_scope",
}

// challenge says in a 401 how to authenticate, as RFC 9110 demands, and in a 403 if it is about
// the credential, as RFC 6750 does of a scope that is lacking.
func (a *authorization) challenge(h http.Header, r *reply) {
	code, ofCredential := bearerErrors[r.of]
	if a.keyspace == nil || r.status != http.StatusUnauthorized && !(r.status == http.StatusForbidden && ofCredential) {
		return
	}
	realm := ` realm="` + a.Keyspace + `"`
	parameters := realm
	if code != "" {
		parameters += `, error="` + code + `"`
	}
	if code == "insufficient_scope" {
		parameters += `, scope="` + strings.Join(a.Scopes, " ") + `"`
	}
	h["Www-Authenticate"] = append([]string{schemeOf(a.keyspace) + parameters}, a.basicChallenge(realm)...)
}

// schemeOf is the scheme of the challenge: of keys in a header of their own there is no
// registered one.
func schemeOf(k *domain.Keyspace) string {
	for _, p := range k.Places() {
		if p.In == domain.InBearer {
			return "Bearer"
		}
	}
	return "ApiKey"
}

// basicChallenge is for keyspaces that name basic among their places: browsers ask their users
// for a password when they see it.
func (a *authorization) basicChallenge(realm string) []string {
	if !slices.Contains(a.keyspace.Presentation.Places, string(domain.InBasic)) {
		return nil
	}
	return []string{"Basic" + realm + `, charset="UTF-8"`}
}
