package api

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/verify"
)

// gateway is who asks when a proxy does: the presented key is the only credential.
var gateway = domain.Principal{ID: "authorize", Org: domain.Installation}

// authorize is forward authentication, as nginx, Traefik, Caddy and Envoy ask for it: 200
// lets the request pass, and says in headers whose it is.
func (s *server) authorize(w http.ResponseWriter, r *http.Request) {
	keyspace := r.PathValue("keyspace")
	if _, err := domain.KeyspaceNamed(keyspace); err != nil || keyspace == domain.ManagementKeyspace {
		s.problem(w, r, &domain.Error{Kind: domain.NotFound, Code: "keyspace_not_found", Text: "there is no such keyspace for products"})
		return
	}
	request := verify.Request{Keyspace: keyspace, IP: s.clientIP(r), By: gateway, RequestID: requestID(r.Context())}
	for name, values := range r.URL.Query() {
		if name != "scope" {
			s.problem(w, r, invalidField(clip(name), "is not a parameter here; scope is, once for each scope"))
			return
		}
		request.Scopes = values
	}
	err := checkVerify(&request, "")
	if err == nil {
		request.Secret, err = presentedToGateway(r)
	}
	var a verify.Answer
	if err == nil {
		err = s.Verifier.Verify(r.Context(), &request, &a)
	}
	if err == nil {
		err = refuse(w, &a)
	}
	if err != nil {
		s.problem(w, r, err)
		return
	}
	h, c := w.Header(), &a.Credential
	h.Set("X-Keytrail-Key-Id", string(c.Key))
	h.Set("X-Keytrail-Org-Id", string(c.Org))
	h.Set("X-Keytrail-Scopes", strings.Join(c.Scopes, " "))
	h.Set("X-Keytrail-Owner", asciiOnly(c.Owner)) // even if there is none, so that no client can say one
	w.WriteHeader(http.StatusOK)
}

// presentedToGateway also takes a key that a client sends as user name of basic
// authentication, which is all that some can.
func presentedToGateway(r *http.Request) (string, error) {
	if user, _, ok := r.BasicAuth(); ok && len(r.Header.Values("Authorization")) == 1 && r.Header.Get("X-API-Key") == "" {
		return user, nil
	}
	secret, err := presented(r.Header)
	if err == nil && secret == "" {
		err = &domain.Error{Kind: domain.Unauthenticated, Code: "missing_credentials", Text: "send a key as Authorization: Bearer or X-API-Key"}
	}
	return secret, err
}

// refuse turns an outcome into what a gateway passes on to the client.
func refuse(w http.ResponseWriter, a *verify.Answer) error {
	w.Header().Set("X-Keytrail-Outcome", string(a.Outcome))
	switch a.Outcome {
	case domain.UseValid:
		return nil
	case domain.UseInsufficientScope, domain.UseIPNotAllowed:
		return &domain.Error{Kind: domain.Forbidden, Code: strings.ToLower(string(a.Outcome)), Text: "the key may not do this, or not from here"}
	case domain.UseRateLimited:
		w.Header().Set("X-RateLimit-Reset", strconv.FormatInt(a.Reset(), 10))
		return a.RateLimited(time.Now())
	}
	return &domain.Error{Kind: domain.Unauthenticated, Code: "invalid_credentials", Text: "the key is not valid"}
}

func asciiOnly(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}
