package api

import (
	"context"
	"net/http"
	"strings"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/verify"
)

// presented is the key that a request carries, "" if it has none. The same key in both
// headers is one key: some clients send every credential that a document names.
func presented(h http.Header) (string, error) {
	bearer, direct := h["Authorization"], h["X-Api-Key"]
	switch {
	case len(bearer) > 1 || len(direct) > 1:
		return "", domain.ErrAmbiguousCredentials
	case len(bearer) == 0 && len(direct) == 0:
		return "", nil
	case len(bearer) == 0:
		return direct[0], nil
	}
	const scheme = "bearer "
	if len(bearer[0]) < len(scheme) || !strings.EqualFold(bearer[0][:len(scheme)], scheme) {
		return "", domain.ErrMissingCredentials
	}
	key := strings.TrimSpace(bearer[0][len(scheme):])
	if len(direct) == 1 && direct[0] != key {
		return "", domain.ErrAmbiguousCredentials
	}
	return key, nil
}

// authenticate identifies the caller and checks that its key has what the route needs.
func (s *server) authenticate(w http.ResponseWriter, r *http.Request, need permission) (verify.Caller, error) {
	auth, err := s.authRequest(r, need.scope)
	if err != nil {
		return verify.Caller{}, err
	}
	for _, once := range []string{"Idempotency-Key", "If-Match", "Content-Type"} {
		if len(r.Header.Values(once)) > 1 {
			return verify.Caller{}, domain.InvalidField(once, "may be sent once")
		}
	}
	caller, err := s.Verifier.Authenticate(r.Context(), auth)
	if err != nil {
		return caller, err
	}
	logCaller(w, caller.Principal)
	if need.installation && !caller.Reach().All {
		return caller, domain.ErrOutOfReach
	}
	return caller, nil
}

func (s *server) authRequest(r *http.Request, scope string) (verify.AuthRequest, error) {
	secret, err := presented(r.Header)
	return verify.AuthRequest{Secret: secret, Scope: scope, IP: s.clientIP(r), RequestID: requestID(r.Context())}, err
}

// recheck refuses a caller whose key has ended since it was authenticated: a body that comes
// slowly, or a stream, may outlive it.
func (s *server) recheck(ctx context.Context) error {
	return s.Verifier.Recheck(callerOf(ctx))
}
