// Package verify is the hot path: a presented secret in, an outcome out, a use recorded.
//
// A secret is refused by its shape or found by its digest with one look-up in the read
// model; domain decides; and the use goes to the ledger, together with those that other
// requests bring at the same moment. Durable verifications are answered only when the
// ledger has acknowledged that message, so that every answer is on the audit trail.
package verify

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/projections"
)

// Durability says when a verification is answered.
type Durability uint8

// Durable answers when the use is on the ledger; Relaxed at once, and a crash can lose
// what the last moments brought.
const (
	Durable Durability = iota
	Relaxed
)

// ParseDurability reads durable or relaxed.
func ParseDurability(s string) (Durability, error) {
	switch s {
	case "durable":
		return Durable, nil
	case "relaxed":
		return Relaxed, nil
	}
	return 0, &domain.Error{Kind: domain.Invalid, Code: "invalid_field", Field: "uses", Text: "uses are recorded durable or relaxed"}
}

// Options of a verifier. The zero value is durable.
type Options struct {
	Durability Durability
	Now        func() time.Time
	Logger     *slog.Logger
	Metrics    prometheus.Registerer // nil: none
}

// A Verifier decides about presented secrets. It is safe for concurrent use.
type Verifier struct {
	store    *projections.Store
	now      func() time.Time
	log      *slog.Logger
	limits   *limiter
	recorder *recorder
	refused  *refusals
	callers  callers
	outcomes map[domain.Outcome]prometheus.Counter
}

// New makes a verifier that reads store and records on ledger.
func New(store *projections.Store, ledger *eventstore.Ledger, o Options) *Verifier {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	total := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "keytrail_verifications_total", Help: "Verifications by outcome."}, []string{"outcome"})
	v := &Verifier{store: store, now: o.Now, log: o.Logger, limits: newLimiter(store), recorder: newRecorder(ledger, o.Durability, o.Logger),
		refused: newRefusals(ledger, o.Now, o.Logger), outcomes: map[domain.Outcome]prometheus.Counter{}}
	for _, outcome := range []domain.Outcome{domain.UseValid, domain.UseNotFound, domain.UseRevoked, domain.UseExpired, domain.UseDisabled,
		domain.UseInsufficientScope, domain.UseIPNotAllowed, domain.UseRateLimited} {
		v.outcomes[outcome] = total.WithLabelValues(string(outcome))
	}
	if o.Metrics != nil {
		o.Metrics.MustRegister(total, v.recorder.sizes)
	}
	return v
}

// Run writes summaries of refused secrets until ctx ends, and clears what has passed.
func (v *Verifier) Run(ctx context.Context) error {
	tick := time.NewTicker(summaryEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			v.refused.write(ctx)
			v.limits.sweep(v.now().UnixMilli())
		}
	}
}

// Close writes what is still to be written. No verification may run or begin any more.
func (v *Verifier) Close(ctx context.Context) error {
	v.refused.write(ctx)
	return v.recorder.drain(ctx)
}

// A Request is a presented secret and what is asked about it.
type Request struct {
	Secret    string
	Keyspace  string // "": any but the management keyspace
	Scopes    []string
	IP        netip.Addr // the zero Addr: not said
	By        domain.Principal
	RequestID string
}

// An Answer is what became of a Request. It can be used again.
type Answer struct {
	Outcome    domain.Outcome
	Credential projections.Credential // of no meaning if Outcome is UseNotFound
	Limits     []LimitState
	Position   eventstore.Position // of the read model that decided
	counts     []int64
	windows    []int64
}

// A LimitState is how one rate limit stands after a use.
type LimitState struct {
	domain.RateLimit
	Remaining int64
	Reset     int64 // seconds since the Unix epoch: when the window ends
}

var answers = sync.Pool{New: func() any { return new(Answer) }}

// Verify decides about r and records the use. It fails only if the use cannot be recorded;
// then nothing is answered.
func (v *Verifier) Verify(ctx context.Context, r *Request, a *Answer) error {
	at, err := v.decide(r, a)
	if err != nil {
		return err
	}
	v.outcomes[a.Outcome].Inc()
	if a.Outcome == domain.UseNotFound {
		v.refused.count(r.By, at)
		return nil
	}
	return v.record(ctx, r, a, at)
}

func (v *Verifier) decide(r *Request, a *Answer) (at time.Time, err error) {
	if err := v.recorder.ledger.Fresh(); err != nil {
		return at, err
	}
	at = v.now().UTC().Truncate(time.Millisecond)
	a.Outcome, a.Limits, a.windows = domain.UseNotFound, a.Limits[:0], a.windows[:0]
	a.Position = v.store.Position()
	if !presentable(r.Secret) {
		return at, nil
	}
	digest := domain.NewSecret(r.Secret).Digest()
	found, err := v.store.Credential(&digest, r.By.Org, &a.Credential)
	if err != nil || !found {
		return at, err
	}
	request := domain.UseRequest{At: at, Keyspace: r.Keyspace, Scopes: r.Scopes, IP: r.IP, By: r.By}
	if len(a.Credential.RateLimits) == 0 {
		a.Outcome = a.Credential.Decide(request)
		return at, nil
	}
	return at, v.limits.decide(request, a)
}

// maxSecret bounds what is worth a hash, in bytes.
const maxSecret = 512

// presentable refuses what cannot be a secret: noise, and typos in one of our formats.
func presentable(s string) bool {
	if len(s) == 0 || len(s) > maxSecret {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return !domain.Mangled(s)
}

func (v *Verifier) record(ctx context.Context, r *Request, a *Answer, at time.Time) error {
	u := domain.KeyUsed{Key: a.Credential.Key, Code: a.Outcome, Scopes: r.Scopes, Principal: r.By.ID, RequestID: r.RequestID, Windows: a.windows, At: at}
	if r.IP.IsValid() {
		u.IP = r.IP.String()
	}
	return v.recorder.record(ctx, a.Credential.Org, &u)
}
