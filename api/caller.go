package api

import (
	"context"
	"net"
	"net/http"
	"net/netip"
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

// authenticate finds out who calls and that they may.
func (s *server) authenticate(r *http.Request, scope string) (verify.Caller, error) {
	auth, err := s.authRequest(r, scope)
	if err != nil {
		return verify.Caller{}, err
	}
	for _, once := range []string{"Idempotency-Key", "If-Match", "Content-Type"} {
		if len(r.Header.Values(once)) > 1 {
			return verify.Caller{}, domain.InvalidField(once, "may be sent once")
		}
	}
	return s.Verifier.Authenticate(r.Context(), auth)
}

func (s *server) authRequest(r *http.Request, scope string) (verify.AuthRequest, error) {
	secret, err := presented(r.Header)
	return verify.AuthRequest{Secret: secret, Scope: scope, IP: s.clientIP(r), RequestID: requestID(r.Context())}, err
}

// recheck tells whether the caller of a route that is written by hand still may: a body
// that comes slowly, or a stream, may outlive the caller's key.
func (s *server) recheck(ctx context.Context) error {
	return s.Verifier.Recheck(ctx.Value(callerKey).(*verify.Caller))
}

// clientIP is the peer's address; or, if the peer is a proxy that we trust, the last
// address in X-Forwarded-For that is none.
func (s *server) clientIP(r *http.Request) netip.Addr {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	ip, _ := netip.ParseAddr(host)
	ip = ip.Unmap()
	if !s.trusted(ip) {
		return ip
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			return ip
		}
		if ip = hop.Unmap(); !s.trusted(ip) {
			return ip
		}
	}
	return ip
}

func (s *server) trusted(ip netip.Addr) bool {
	for _, p := range s.TrustedProxies {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// reachOf is what a listing is about: all that the caller reaches, or the organization that
// is named.
func reachOf(p domain.Principal, named string) (domain.Reach, error) {
	if named == "" {
		return p.Reach(), nil
	}
	org, err := within(p, named)
	return domain.Only(org), err
}

// within is the organization that a request is about: the caller's own, or for a caller
// who serves the installation the one that is named. Another one than the caller's own
// looks as if it did not exist.
func within(p domain.Principal, named string) (domain.OrgID, error) {
	if named == "" {
		return p.Org, nil
	}
	org, err := domain.ParseOrgID(named)
	if err != nil {
		return "", err
	}
	if !p.Reaches(org) {
		return "", domain.ErrOrganizationNotFound
	}
	return org, nil
}
