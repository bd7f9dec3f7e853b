package verify

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// The refusals of a caller's own credentials. They do not tell an unknown key from a
// revoked one: whoever holds a key's text need not be its owner.
var (
	ErrMissingCredentials = &domain.Error{Kind: domain.Unauthenticated, Code: "missing_credentials",
		Text: "send a management key as Authorization: Bearer or X-API-Key"}
	ErrInvalidCredentials = &domain.Error{Kind: domain.Unauthenticated, Code: "invalid_credentials",
		Text: "this management key is not valid, or not from this address"}
	ErrRateLimited = &domain.Error{Kind: domain.Exhausted, Code: "rate_limited", Text: "your key's rate limit is used up; wait"}
)

// An AuthRequest is a caller's management key, and the scope that the call needs.
type AuthRequest struct {
	Secret    string
	Scope     string // "": none
	IP        netip.Addr
	RequestID string
}

// Authenticate finds out who calls, and records the use of their key.
func (v *Verifier) Authenticate(ctx context.Context, r AuthRequest) (domain.Principal, error) {
	a := answers.Get().(*Answer)
	defer answers.Put(a)
	p, err := v.caller(r, a)
	if err != nil {
		return p, err
	}
	if err := v.recordCaller(ctx, r, p, a); err != nil {
		return p, err
	}
	return p, a.refusal(r, v.now())
}

func (v *Verifier) recordCaller(ctx context.Context, r AuthRequest, p domain.Principal, a *Answer) error {
	request := Request{IP: r.IP, By: p, RequestID: r.RequestID}
	if r.Scope != "" {
		request.Scopes = []string{r.Scope}
	}
	return v.record(ctx, &request, a, v.now().UTC().Truncate(time.Millisecond))
}

// caller decides about a management key and records nothing.
func (v *Verifier) caller(r AuthRequest, a *Answer) (domain.Principal, error) {
	if r.Secret == "" {
		return domain.Principal{}, ErrMissingCredentials
	}
	request := Request{Secret: r.Secret, Keyspace: domain.ManagementKeyspace, IP: r.IP, By: domain.Principal{ID: "authentication", Org: domain.Installation}}
	if r.Scope != "" {
		request.Scopes = []string{r.Scope}
	}
	at, err := v.decide(&request, a)
	if err != nil {
		return domain.Principal{}, err
	}
	if a.Outcome == domain.UseNotFound {
		v.refused.count(request.By, at)
		return domain.Principal{}, ErrInvalidCredentials
	}
	c := &a.Credential
	return domain.Principal{ID: string(c.Key), Org: c.Org, Scopes: slices.Clone(c.Scopes)}, nil
}

// refusal is what a caller is told of what became of their own key.
func (a *Answer) refusal(r AuthRequest, now time.Time) error {
	switch a.Outcome {
	case domain.UseValid:
		return nil
	case domain.UseInsufficientScope:
		return domain.ScopeMissing(r.Scope)
	case domain.UseRateLimited:
		return a.RateLimited(now)
	}
	return ErrInvalidCredentials
}

// RateLimited is ErrRateLimited with the time until every window that is used up has ended.
func (a *Answer) RateLimited(now time.Time) error {
	e := *ErrRateLimited
	e.Wait = time.Unix(a.Reset(), 0).Sub(now)
	return &e
}

// Reset is when every window that is used up has ended, in seconds since the Unix epoch.
func (a *Answer) Reset() (at int64) {
	for _, l := range a.Limits {
		if l.Remaining == 0 {
			at = max(at, l.Reset)
		}
	}
	return at
}

// callers remembers who asks for verifications, which they do all the time: what was
// decided about them is good as long as the read model stands where it stood.
type callers struct {
	mu    sync.RWMutex
	known map[callerKey]caller
}

type callerKey struct {
	digest domain.Digest
	ip     netip.Addr
}

type caller struct {
	principal domain.Principal
	position  eventstore.Position // of the read model that decided
	until     time.Time           // when time alone may change the decision
	recorded  time.Time           // when a use of the key was last recorded
}

const (
	maxCallers  = 1000
	recordAgain = time.Minute
)

// AuthenticateVerifier is Authenticate for those who verify: each verification names them
// on the ledger as its principal, so a use of their own key is recorded once a minute, not
// each time. Keys with rate limits are not spared.
func (v *Verifier) AuthenticateVerifier(ctx context.Context, r AuthRequest) (domain.Principal, error) {
	if r.Secret == "" {
		return domain.Principal{}, ErrMissingCredentials
	}
	key := callerKey{domain.NewSecret(r.Secret).Digest(), r.IP}
	now := v.now()
	c := v.callers.find(key)
	if c.position == v.store.Position() && now.Before(c.until) && now.Before(c.recorded.Add(recordAgain)) {
		return c.principal, nil
	}
	a := answers.Get().(*Answer)
	defer answers.Put(a)
	p, err := v.caller(r, a)
	if err != nil {
		return p, err
	}
	plain := a.Outcome == domain.UseValid && len(a.Credential.RateLimits) == 0
	if !plain || !now.Before(c.recorded.Add(recordAgain)) {
		if err := v.recordCaller(ctx, r, p, a); err != nil {
			return p, err
		}
		c.recorded = now
	}
	if plain {
		v.callers.keep(key, caller{p, a.Position, a.until(now.Add(recordAgain)), c.recorded})
	}
	return p, a.refusal(r, now)
}

// until is when what was decided may change by itself, at most latest.
func (a *Answer) until(latest time.Time) time.Time {
	for _, end := range []int64{a.Credential.ExpiresAt, a.Credential.ValidUntil} {
		if end != 0 && end < latest.UnixMilli() {
			latest = time.UnixMilli(end)
		}
	}
	return latest
}

func (c *callers) find(k callerKey) caller {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.known[k]
}

func (c *callers) keep(k callerKey, who caller) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil || len(c.known) >= maxCallers {
		c.known = map[callerKey]caller{}
	}
	c.known[k] = who
}
