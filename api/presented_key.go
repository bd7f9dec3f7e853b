package api

import (
	"net/http"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/verify"
)

// holder is the principal of questions in which the presented key is the only credential, of whatever
// keyspace but that of management keys, and its own asker.
var holder = domain.Principal{ID: "holder", Org: domain.Installation}

// verifyPresented verifies the key that a request presents as its credential, and has it recorded as a
// use by itself. An outcome other than VALID is an error.
func (s *server) verifyPresented(w http.ResponseWriter, r *http.Request, scopes []string, a *verify.Answer) (domain.Principal, error) {
	secret, err := presented(r.Header)
	if err == nil && secret == "" {
		err = domain.ErrMissingKey
	}
	if err != nil {
		return domain.Principal{}, err
	}
	if err := s.Verifier.Verify(r.Context(), &verify.Request{Secret: secret, Scopes: scopes, IP: s.clientIP(r), By: holder, RequestID: requestID(r.Context()), Resource: r.Method + " " + r.URL.Path, Sole: true, Own: true, KeysOnly: true}, a); err != nil {
		return domain.Principal{}, err
	}
	c := &a.Credential
	p := domain.Principal{ID: string(c.Key), Org: c.Org, Scopes: c.Scopes}
	if a.Outcome == domain.UseValid {
		logCaller(w, p)
		return p, nil
	}
	return p, refusalOf(a, s.Now())
}
