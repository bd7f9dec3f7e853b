package verify

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keytrail/keytrail/domain"
)

// callers caches what was decided about callers that ask for verifications, which they do all
// the time. An entry is valid while the read model stands where it stood.
type callers struct {
	mu      sync.RWMutex
	known   map[callerKey]knownCaller
	refused *prometheus.CounterVec
}

// A callerKey finds an entry; isOf reports whether it is the right one.
type callerKey struct {
	digest domain.Digest
	ip     netip.Addr
}

// A knownCaller is an entry of the cache.
type knownCaller struct {
	Caller
	until    time.Time // when time alone may change the decision, or a use is to be recorded again
	recorded time.Time // when a use of the key was last recorded
}

// isOf reports whether the entry, which is one of r's secret, was decided on a request that
// equals r in all that a decision may depend on: each field but the request's id.
func (k *knownCaller) isOf(r AuthRequest) bool {
	r.Secret, r.RequestID = k.request.Secret, k.request.RequestID
	return r == k.request
}

const (
	maxCallers  = 1000
	recordAgain = time.Minute
)

func newCallers() callers {
	refused := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "keytrail_management_refusals_total", Help: "Requests whose management key was refused, by reason."}, []string{"reason"})
	refused.WithLabelValues("missing") // so that the first one is an increase
	for _, outcome := range domain.Outcomes {
		if outcome != domain.UseValid {
			refused.WithLabelValues(strings.ToLower(string(outcome)))
		}
	}
	return callers{known: map[callerKey]knownCaller{}, refused: refused}
}

// countRefusal counts err by its reason, if the reason is the caller's key and no fault of ours.
func (c *callers) countRefusal(a *Answer, err error) {
	var refusal *domain.Error
	switch {
	case errors.Is(err, domain.ErrMissingCredentials):
		c.refused.WithLabelValues("missing").Inc()
	case errors.As(err, &refusal) && refusal.Kind != domain.Unavailable:
		c.refused.WithLabelValues(strings.ToLower(string(a.Outcome))).Inc()
	}
}

// AuthenticateVerifier is Authenticate for callers that verify. Each verification has its
// caller on the ledger as its principal, so a use of the caller's own key is recorded once a
// minute, not each time. A key with rate limits is evaluated and recorded each time.
func (v *Verifier) AuthenticateVerifier(ctx context.Context, r AuthRequest) (Caller, error) {
	if r.Secret == "" {
		return v.caller(r, nil, domain.ErrMissingCredentials)
	}
	key, now := callerKey{domain.NewSecret(r.Secret).Digest(), r.IP}, v.now()
	k := v.callers.find(key)
	if now.Before(k.until) && k.version == v.store.Version() && k.isOf(r) {
		return k.Caller, nil
	}
	recorded := now.Before(k.recorded.Add(recordAgain))
	a := answers.Get().(*Answer)
	defer answers.Put(a)
	request := r.verification()
	err := v.begin(ctx, &request, a)
	if err == nil && !(recorded && a.unlimited()) {
		err = v.settle(ctx, &request, a)
		k.recorded = now
	}
	k.Caller, err = v.caller(r, a, err)
	if err == nil && a.unlimited() {
		k.until = a.until(k.recorded.Add(recordAgain))
		v.callers.keep(key, k)
	}
	return k.Caller, err
}

// unlimited tells of a valid key that it has no rate limits.
func (a *Answer) unlimited() bool {
	return a.Outcome == domain.UseValid && len(a.Credential.RateLimits) == 0
}

// until is when time alone may change the outcome, at most latest.
func (a *Answer) until(latest time.Time) time.Time {
	for _, end := range []int64{a.Credential.ExpiresAt, a.Credential.ValidUntil} {
		if end != 0 && end < latest.UnixMilli() {
			latest = time.UnixMilli(end)
		}
	}
	return latest
}

func (c *callers) find(k callerKey) knownCaller {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.known[k]
}

func (c *callers) keep(key callerKey, k knownCaller) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.known) >= maxCallers {
		clear(c.known)
	}
	c.known[key] = k
}
