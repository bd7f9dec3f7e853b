package verify

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/projections"
)

// An AuthRequest is a caller's management key, and the scope that the call needs.
type AuthRequest struct {
	Secret    string
	Scope     string // "": none
	IP        netip.Addr
	RequestID string
}

// A Caller is the principal of a request: a management key that was found valid.
type Caller struct {
	domain.Principal
	request AuthRequest
	version uint64 // of the read model that decided
}

// IP is the address that the caller asks from.
func (c *Caller) IP() netip.Addr { return c.request.IP }

// Authenticate verifies the caller's management key, and records its use.
func (v *Verifier) Authenticate(ctx context.Context, r AuthRequest) (Caller, error) {
	if r.Secret == "" {
		return v.caller(r, nil, domain.ErrMissingCredentials)
	}
	a := answers.Get().(*Answer)
	defer answers.Put(a)
	request := r.verification()
	err := v.begin(ctx, &request, a)
	if err == nil {
		err = v.settle(ctx, &request, a)
	}
	return v.caller(r, a, err)
}

// verification is the request to verify the caller's own key.
func (r AuthRequest) verification() Request {
	request := Request{Secret: r.Secret, Keyspace: domain.ManagementKeyspace, IP: r.IP, RequestID: r.RequestID, Sole: true, Own: true,
		By: domain.Authenticator}
	if r.Scope != "" {
		request.Scopes = []string{r.Scope}
	}
	return request
}

// caller is the caller whose key a found, or their refusal: err, or that of a's outcome. Of a
// refusal for a scope the caller is told, too.
func (v *Verifier) caller(r AuthRequest, a *Answer, err error) (Caller, error) {
	if err == nil {
		err = a.refusal(r, v.now())
	}
	if err != nil {
		v.callers.countRefusal(a, err)
		if errors.Is(err, domain.ScopeMissing("")) { // whose key is known, and valid
			return Caller{Principal: a.principal()}, err
		}
		return Caller{}, err
	}
	return Caller{a.principal(), r, a.version}, nil
}

// principal is the one whose key or session was found.
func (a *Answer) principal() domain.Principal {
	c := &a.Credential
	return domain.Principal{ID: principalID(c), Org: c.Org, Scopes: slices.Clone(c.Scopes), User: c.User, Session: c.Session, Role: c.Role, Issuer: c.Issuer}
}

// principalID is who acts with a credential: of a session its user.
func principalID(c *projections.Credential) string {
	if c.Session != "" {
		return string(c.User)
	}
	return string(c.Key)
}

// refusal is what a caller is told of the outcome for their own key, nil if it is valid.
func (a *Answer) refusal(r AuthRequest, now time.Time) error {
	switch a.Outcome {
	case domain.UseValid:
		return nil
	case domain.UseInsufficientScope:
		return domain.ScopeMissing(r.Scope)
	case domain.UseRateLimited:
		return a.RateLimited(now)
	}
	return domain.ErrInvalidCredentials
}
