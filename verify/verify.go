// Package verify is the hot path: a presented secret in, an outcome out, a use recorded.
//
// A secret is refused by its shape or found by its digest with one look-up in the read
// model; domain decides; and the use goes to the ledger by group commit, in one message with
// those of other requests. Durable verifications are answered only when the ledger has
// acknowledged that message, so that every answer is on the audit trail.
package verify

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/internal/token"
	"github.com/keytrail/keytrail/internal/tracing"
	"github.com/keytrail/keytrail/projections"
)

// Durability says when a verification is answered.
type Durability uint8

// Durable answers when the use is on the ledger; Relaxed at once, so that a crash can lose the
// uses of some last milliseconds, and while the ledger is away those that wait for it.
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
	return 0, domain.InvalidField("uses", "uses are recorded durable or relaxed")
}

// Options of a verifier. The zero value is durable.
type Options struct {
	Durability Durability
	// RefusalsRecorded is how many refusals of one key are recorded one by one, for each
	// outcome and minute, where the presented key is the only credential; further ones are
	// summed up. 0: 60.
	RefusalsRecorded int
	// BufferBytes bounds the memory for uses that wait for the ledger. 0: 128 MiB.
	BufferBytes int
	Tokens      *token.Issuer // nil: no derived tokens are taken
	Now         func() time.Time
	Logger      *slog.Logger
	Metrics     prometheus.Registerer // nil: none
}

func (o *Options) setDefaults() {
	if o.RefusalsRecorded == 0 {
		o.RefusalsRecorded = defaultRefusalsRecorded
	}
	if o.BufferBytes == 0 {
		o.BufferBytes = defaultBufferBytes
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// A Verifier verifies presented secrets. It is safe for concurrent use.
type Verifier struct {
	store           *projections.Store
	ledger          UseLog
	tokens          *token.Issuer
	now             func() time.Time
	limits          *limiter
	meters          *meters
	recorder        *recorder
	unknown         *unknownSecrets
	refusals        *refusalSums
	refusalMessages refusalMessages
	sessions        knownSessions
	callers         callers
	outcomes        outcomeCounters
}

// New makes a verifier that reads store and records on ledger.
func New(store *projections.Store, ledger UseLog, o Options) *Verifier {
	o.setDefaults()
	lost := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "keytrail_uses_lost_total",
		Help: "Uses that were answered and are given up, one by one or in sums: the ledger did not take them in time."}, []string{"recorded"})
	v := &Verifier{store: store, ledger: ledger, tokens: o.Tokens, now: o.Now, limits: newLimiter(store, o.Now), meters: newMeters(store, o.Now), recorder: newRecorder(ledger, o, lost.WithLabelValues("singly")),
		unknown: newUnknownSecrets(), refusals: newRefusalSums(o.RefusalsRecorded), callers: newCallers(), outcomes: newOutcomeCounters(),
		refusalMessages: refusalMessages{ledger: ledger, log: o.Logger, lost: lost.WithLabelValues("summed")}}
	if o.Metrics != nil {
		o.Metrics.MustRegister(v.outcomes.total, lost, v.refusals.summed, v.callers.refused)
		o.Metrics.MustRegister(v.recorder.metrics()...)
	}
	return v
}

// Run writes the refusals that were counted and forgets rate limit windows that have passed,
// every refusalsEvery until ctx ends.
func (v *Verifier) Run(ctx context.Context) error {
	tick := time.NewTicker(refusalsEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			v.writeRefusals(ctx)
			v.limits.sweep(v.now().UnixMilli())
			v.meters.sweep()
		}
	}
}

// writeRefusals writes the refusals that were counted since the last time.
func (v *Verifier) writeRefusals(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, refusalsEvery)
	defer cancel()
	v.refusalMessages.write(ctx, func() refusalBatches {
		var all refusalBatches
		v.unknown.collect(&all)
		v.refusals.collect(&all, minuteOf(v.now()))
		return all
	})
}

// Close writes what is still to be written. No verification may run or begin after it.
func (v *Verifier) Close(ctx context.Context) error {
	v.writeRefusals(ctx)
	return v.recorder.drain(ctx)
}

// A Request is a presented secret and what is asked about it.
type Request struct {
	Secret   string
	Keyspace string // "": any but the management keyspace
	Audience string // that a derived token must be for; "": any
	Scopes   []string
	IP       netip.Addr // the zero Addr: not said
	Resource string     // what the secret was presented for, as it is recorded: "GET /v1/x"; "": not said
	// ResourceOrg is the organization of that, which must be the key's; "": not said.
	ResourceOrg domain.OrgID
	Cost        int64 // how many uses it counts as in rate limits, at most domain.MaxCost; 0: one
	By          domain.Principal
	RequestID   string
	// Sole: the secret is the request's only credential. A client without any other one can
	// repeat it at will, so that repeated refusals are summed up.
	Sole bool
	// KeysOnly: the token of a session is none.
	KeysOnly bool
	// Own: the secret is the asker's own, so that its use is recorded with its key as the
	// principal.
	Own bool
}

// Verify puts the outcome of r into a and records the use. If the use cannot be recorded it
// fails, and nothing is answered.
func (v *Verifier) Verify(ctx context.Context, r *Request, a *Answer) error {
	err := v.begin(ctx, r, a)
	if err == nil {
		err = v.settle(ctx, r, a)
	}
	if err == nil {
		v.outcomes.count(a.Outcome)
	}
	return err
}

// begin evaluates a request that has just arrived, on a read model that is known to be fresh.
func (v *Verifier) begin(ctx context.Context, r *Request, a *Answer) error {
	a.deadline, a.counted = time.Now().Add(useTimeout), a.counted[:0]
	a.metered = 0
	if err := v.ledger.AwaitFresh(ctx, a.deadline); err != nil {
		return err
	}
	return v.evaluate(r, a)
}

// settle records the outcome. If the key changed meanwhile, it evaluates the request again
// and records that outcome, too: an answer is as new as the read model when it is given,
// however long the ledger took or the process stood still.
func (v *Verifier) settle(ctx context.Context, r *Request, a *Answer) error {
	for {
		if a.Outcome == domain.UseNotFound {
			v.unknown.count(r.By, a.at, a.Position)
			return nil
		}
		if err := v.record(ctx, r, a); err != nil {
			return err
		}
		if err := v.ledger.AwaitFresh(ctx, a.deadline); err != nil {
			return err
		}
		current, err := v.current(r, a)
		if current || err != nil {
			return err
		}
		if err := v.evaluate(r, a); err != nil {
			return err
		}
	}
}

// current reports whether the key is still as it was when a was evaluated.
func (v *Verifier) current(r *Request, a *Answer) (bool, error) {
	version, position := v.store.Version(), v.store.Position()
	if version == a.version {
		return true, nil
	}
	unchanged, err := v.unchanged(r, a)
	if !unchanged || err != nil {
		return false, err
	}
	c, err := v.conditionsOf(&a.Credential)
	if err != nil || c.suspended != a.suspended || c.owner != a.owner || c.Unmet != a.Unmet || c.plan != a.plan || c.surplus != a.surplus {
		return false, err
	}
	a.conditions, a.version, a.Position = c, version, position
	return true, nil
}

// conditions are what the outcome of a use depends on beside the key and the request.
type conditions struct {
	Keyspace  *domain.Keyspace // of the key; of a session that which was asked for, nil: none
	Unmet     int              // the keyspace's first requirement that is not met, by its index; -1: none
	suspended bool             // the key's organization is
	plan      *domain.Plan     // of the key's organization; nil: it has none, or the key is a management key
	surplus   bool             // the key is one of the newest, and the organization has more than its plan allows
	owner     domain.State     // of the key's owner, if that is a user
}

// conditionsOf looks them up. They are as new as the credential, or newer.
func (v *Verifier) conditionsOf(c *projections.Credential) (found conditions, err error) {
	found.suspended, found.Unmet = v.store.OrgSuspended(c), -1
	if c.Keyspace != domain.ManagementKeyspace {
		found.plan = v.store.OrgPlan(c)
	}
	if c.Session == "" && domain.NamesUser(c.Owner) {
		if found.owner, err = v.store.Departed(c.Org, c.Owner); err != nil {
			return found, err
		}
	}
	if c.Session != "" && c.Keyspace == "" {
		return found, nil
	}
	if found.Keyspace, err = v.store.Keyspaces().Named(c.Keyspace); err != nil {
		return found, fmt.Errorf("%s is of the keyspace %s, which is not known", c.Key, c.Keyspace)
	}
	if len(found.Keyspace.Requirements) > 0 {
		found.Unmet, err = v.store.Unmet(c, found.Keyspace.Requirements)
	}
	if found.plan != nil && c.Session == "" && err == nil {
		found.surplus, err = v.store.Surplus(c, found.plan)
	}
	return found, err
}

// evaluate looks the key up and puts the outcome of its use into a. A valid use counts
// against the key's rate limits, once for a request that is evaluated several times.
func (v *Verifier) evaluate(r *Request, a *Answer) error {
	found, err := v.lookUp(r, a)
	if err != nil || !found {
		return err
	}
	if a.plan != nil {
		return v.evaluatePlanned(r.use(a), a)
	}
	return v.decide(r.use(a), a)
}

// decide puts the outcome into a, and counts a valid use against the key's rate limits.
func (v *Verifier) decide(r domain.UseRequest, a *Answer) error {
	if len(a.Credential.RateLimits) == 0 {
		a.Outcome = a.Credential.Decide(r)
		return nil
	}
	return v.limits.evaluate(r, a)
}

// evaluatePlanned is decide for a key of an organization that has a plan: with the rate limits that
// the plan allows, and within its quotas. A valid use counts in the month, once for a request that
// is evaluated several times.
func (v *Verifier) evaluatePlanned(r domain.UseRequest, a *Answer) (err error) {
	c, p := &a.Credential, a.plan
	if !c.Key.IsSession() { // which counts, and is otherwise nothing that a plan is about
		r.Plan, r.Surplus = p, a.surplus
		c.RateLimits = p.Tighten(c.RateLimits)
	}
	a.quotas = p.AppendQuotas(a.quotas, c.Key, c.Owner)
	if len(a.quotas) == 0 {
		err = v.decide(r, a)
	} else {
		err = v.meters.evaluate(r, a, v.decide)
	}
	if month := domain.MonthAt(a.at); err == nil && a.Outcome == domain.UseValid && a.metered != month {
		a.metered, a.counting = month, true
	}
	if r.Plan != nil && p.Scopes != nil {
		c.Scopes = domain.SharedScopes(p.Scopes, c.Scopes)
	}
	return err
}

// lookUp puts all into a that a decision about r depends on. The outcome is UseNotFound until there is
// one.
func (v *Verifier) lookUp(r *Request, a *Answer) (found bool, err error) {
	a.at, a.cost = instant(v.now), max(r.Cost, 1)
	a.Outcome, a.conditions, a.Limits, a.windows = domain.UseNotFound, conditions{Unmet: -1}, a.Limits[:0], a.windows[:0]
	a.Quotas, a.quotas, a.counting = a.Quotas[:0], a.quotas[:0], false
	a.version, a.Position = v.store.Version(), v.store.Position()
	if found, err = v.find(r, a); found && err == nil {
		a.conditions, err = v.conditionsOf(&a.Credential)
	}
	return found, err
}

// use is what domain is asked: whatever a credential came by, it decides about these facts.
func (r *Request) use(a *Answer) domain.UseRequest {
	return domain.UseRequest{At: a.at, Keyspace: r.Keyspace, Scopes: r.Scopes, Resource: r.ResourceOrg, IP: r.IP, By: r.By, Cost: a.cost,
		Owner: a.owner, OrgSuspended: a.suspended, Unmet: a.Unmet >= 0}
}

// find looks up the key that the secret is of, or that a derived token stands for, or the session.
func (v *Verifier) find(r *Request, a *Answer) (found bool, err error) {
	a.ByToken = false
	if token.Looks(r.Secret) { // first: a look-up among the keys finds nothing, and may take long
		if found, err = v.findByToken(r, a); found || err != nil {
			return found, err
		}
		if found, err = v.findBySession(r, a); found || err != nil {
			return found, err
		}
	}
	if presentable(r.Secret) && v.store.Keyspaces().Possible(r.Keyspace, r.Secret) {
		a.digest = domain.NewSecret(r.Secret).Digest()
		return v.store.Credential(&a.digest, r.By.Reach(), &a.Credential)
	}
	return false, nil
}

// instant is the present time to the millisecond, as it is recorded.
func instant(now func() time.Time) time.Time { return now().UTC().Truncate(time.Millisecond) }

// maxSecret bounds what is worth a hash, in bytes.
const maxSecret = 512

// presentable refuses what cannot be a secret of any kind.
func presentable(s string) bool {
	if len(s) == 0 || len(s) > maxSecret {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// record puts the use on the ledger, or adds it to a sum.
func (v *Verifier) record(ctx context.Context, r *Request, a *Answer) error {
	u := r.recorded(a)
	one := use{&u, a.holder(), a.Position}
	if r.Sole && a.Outcome != domain.UseValid && v.refusals.add(one) {
		return nil
	}
	ctx, finish := tracing.Start(ctx, "record the use")
	err := v.recorder.record(ctx, one, a.deadline)
	finish(err)
	return err
}

// recorded is the use as it is recorded.
func (r *Request) recorded(a *Answer) domain.KeyUsed {
	u := domain.KeyUsed{Key: a.Credential.Key, Code: a.Outcome, Scopes: r.Scopes, Principal: r.By.ID, RequestID: r.RequestID,
		Resource: r.Resource, Cost: r.Cost, Windows: a.windows, At: a.at}
	if a.counting {
		u.Plan, u.Owner = a.plan.Name, a.Credential.Owner
	}
	if r.Own {
		u.Principal = principalID(&a.Credential)
	}
	if r.IP.IsValid() {
		u.IP = r.IP.String()
	}
	return u
}
