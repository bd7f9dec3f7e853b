package api

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/internal/token"
)

// A presence is what there is at a place.
type presence int

const (
	absent      presence = iota
	present              // a credential, be it empty
	otherScheme          // a header Authorization that is for another place
	undecodable          // more than one, or not in the encoding that it must have
)

// presentedToGateway is the credential that a client presents to its gateway, which is looked
// for in the places of the keyspace. It is the one way from a client's request to a credential.
func presentedToGateway(k *domain.Keyspace, h http.Header, query string) (credential string, err error) {
	found, authorized, foreign := false, false, false
	for _, place := range k.Places() {
		text, there := presentedAt(place, h, query, k.Presentation.ExactScheme)
		switch {
		case there == absent:
			continue
		case there == otherScheme:
			foreign = true
			continue
		case there == undecodable, found && text != credential:
			return "", domain.ErrMalformedKey
		}
		credential, found, authorized = text, true, authorized || place.Authorization()
		if k.Presentation.Several == "first" {
			return credential, nil
		}
	}
	switch {
	case foreign && !authorized:
		return "", domain.ErrMalformedKey
	case !found:
		return "", domain.ErrMissingKey
	}
	return credential, nil
}

func presentedAt(p domain.Place, h http.Header, query string, exactScheme bool) (string, presence) {
	if p.In == domain.InQuery {
		return presentedInQuery(query, p.Name)
	}
	name := p.Name
	if p.Authorization() || p.In == domain.InSession {
		name = "Authorization"
	}
	values := h[name]
	switch {
	case len(values) > 1:
		return "", undecodable
	case len(values) == 0, values[0] == "": // some gateways leave out empty headers, others do not
		return "", absent
	case p.In == domain.InHeader:
		return values[0], present
	case p.In == domain.InBasic:
		return basicUser(values[0])
	case p.In == domain.InSession:
		return sessionToken(values[0])
	case exactScheme:
		return exactBearer(values[0])
	}
	return bearer(values[0])
}

// bearer reads the scheme Bearer. What HTTP trims to the scheme alone is an empty credential.
func bearer(authorization string) (string, presence) {
	scheme, credential, _ := strings.Cut(authorization, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", otherScheme
	}
	return strings.TrimSpace(credential), present
}

// sessionToken reads the token of a session. A key in its place is not seen.
func sessionToken(authorization string) (string, presence) {
	if credential, there := bearer(authorization); there == present && token.Looks(credential) {
		return credential, present
	}
	return "", absent
}

// exactBearer takes the scheme in this spelling alone, and all behind one space as it is.
func exactBearer(authorization string) (string, presence) {
	scheme, credential, _ := strings.Cut(authorization, " ")
	if scheme != "Bearer" {
		return "", otherScheme
	}
	return credential, present
}

// basicUser is the user name of basic authentication, which is all that some clients can send.
func basicUser(authorization string) (string, presence) {
	if scheme, _, _ := strings.Cut(authorization, " "); !strings.EqualFold(scheme, "Basic") {
		return "", otherScheme
	}
	user, _, ok := (&http.Request{Header: http.Header{"Authorization": {authorization}}}).BasicAuth()
	if !ok {
		return "", undecodable
	}
	return user, present
}

// presentedInQuery reads one parameter. What else the query has is for the backend to judge.
func presentedInQuery(query, name string) (value string, there presence) {
	for parameter := range strings.SplitSeq(query, "&") {
		key, text, _ := strings.Cut(parameter, "=")
		if key, err := url.QueryUnescape(key); err != nil || key != name {
			continue
		}
		text, err := url.QueryUnescape(text)
		if err != nil || there == present {
			return "", undecodable
		}
		value, there = text, present
	}
	return value, there
}
