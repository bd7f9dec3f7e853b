package commands

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// A wrong password is on the ledger before it is answered, and the back-off of the next attempt
// follows from the read model: it survives a crash and is the same on every node. Under a flood there
// are more wrong passwords than are to be events. Then they are summed up, by account, and what the
// sums say counts on this node at once and on others some seconds later; a crash loses those seconds.

const (
	// logInFlush is how often sums are written.
	logInFlush = 10 * time.Second
	// maxLogInSums bounds the accounts that are told apart meanwhile, at about 1 KB each.
	maxLogInSums = 10_000
)

// logInEvents is how many events a node writes of single accounts: 60 at once, then one in five
// seconds. With the one of all others at each flush that is 30 MB a day at the very most.
func logInEvents() *rate.Limiter { return rate.NewLimiter(rate.Every(5*time.Second), 60) }

// A LogInIndex is what log-ins ask the read model.
type LogInIndex interface {
	// Account is the user who has an e-mail address.
	Account(email string) (u domain.User, found bool, err error)
	// OrganizationsOf are those that a user is a member of.
	OrganizationsOf(domain.UserID) ([]domain.OrgID, error)
	// Admits tells whether an organization takes sessions by a provider, "": by password.
	Admits(org domain.OrgID, issuer string) bool
	// Suspended tells whether an organization refuses all sessions.
	Suspended(domain.OrgID) bool
	KnownAddresses(domain.UserID) (domain.KnownAddresses, error)
	Backoff(domain.BackoffID) (domain.Backoff, error)
	WaitFor(context.Context, eventstore.Position) error
}

// logIns are the attempts to log in that the read model does not have yet.
type logIns struct {
	index  LogInIndex
	key    [32]byte // hashes e-mail addresses that no user has
	events *rate.Limiter

	mu     sync.Mutex
	recent map[domain.BackoffID]recentAttempts
	sums   map[string]*domain.LogInRefused // by account
}

// recentAttempts are those that one Backoff counts.
type recentAttempts struct {
	underWay int
	failed   domain.Backoff // and not in the read model
}

func newLogIns(index LogInIndex, key [32]byte) *logIns {
	return &logIns{index: index, key: key, events: logInEvents(), recent: map[domain.BackoffID]recentAttempts{}, sums: map[string]*domain.LogInRefused{}}
}

// stranger is what an e-mail address that no user has is counted as.
func (l *logIns) stranger(email string) string {
	mac := hmac.New(sha256.New, l.key[:])
	_, _ = mac.Write([]byte(email))
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

// A countedBackoff is a Backoff that an attempt counts in.
type countedBackoff struct {
	id     domain.BackoffID
	policy domain.BackoffPolicy
}

// backoffsOf are those of an attempt. A user who logged in from where they are before has one of their
// own there: what others do elsewhere keeps no one from logging in.
func backoffsOf(a domain.LogInAttempt) []countedBackoff {
	if a.Known {
		return []countedBackoff{{domain.OfKnown(a.User, a.IP), domain.AccountBackoff}}
	}
	all := []countedBackoff{{domain.OfAccount(a.Account), domain.AccountBackoff}}
	if a.IP != "" {
		all = append(all, countedBackoff{domain.OfAddress(a.IP), domain.AddressBackoff})
	}
	return all
}

// enter begins an attempt, or says how long to wait. leave must follow one that has begun.
func (l *logIns) enter(a domain.LogInAttempt) (wait time.Duration, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	backoffs := backoffsOf(a)
	for _, b := range backoffs {
		stored, err := l.index.Backoff(b.id)
		if err != nil {
			return 0, err
		}
		recent := l.recent[b.id]
		wait = max(wait, stored.Plus(recent.failed).Wait(b.policy, recent.underWay, a.At))
	}
	if wait > 0 {
		a.Held = true
		l.sum(a)
		return wait, nil
	}
	for _, b := range backoffs {
		recent := l.recent[b.id]
		recent.underWay++
		l.recent[b.id] = recent
	}
	return 0, nil
}

// leave ends an attempt.
func (l *logIns) leave(a domain.LogInAttempt, failed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range backoffsOf(a) {
		recent := l.recent[b.id]
		recent.underWay--
		if failed {
			recent.failed = recent.failed.Plus(domain.Backoff{Failures: 1, Last: a.At})
		}
		l.set(b.id, recent)
	}
	if failed {
		l.sum(a)
	}
}

func (l *logIns) set(id domain.BackoffID, r recentAttempts) {
	if r.underWay == 0 && r.failed.Failures <= 0 {
		delete(l.recent, id)
		return
	}
	l.recent[id] = r
}

// sum counts an attempt for the next event of its account; beyond maxLogInSums, for that of several.
func (l *logIns) sum(a domain.LogInAttempt) {
	s := l.sums[a.Account]
	if s == nil && len(l.sums) >= maxLogInSums {
		a.Known, s = false, l.sums[""]
	}
	if s == nil {
		s = &domain.LogInRefused{}
		if len(l.sums) < maxLogInSums {
			s.User = a.User
			l.sums[a.Account] = s
		} else {
			l.sums[""] = s
		}
	}
	s.Add(a)
}

// take takes the sum of an account out, if it may be an event of its own now.
func (l *logIns) take(account string, now time.Time) (e domain.LogInRefused, found bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.sums[account]
	if s == nil || !l.events.AllowN(now, 1) {
		return e, false
	}
	delete(l.sums, account)
	return *s, true
}

// takeAll takes all sums out: as events of their own, those with most first, and what there are too
// many of as one.
func (l *logIns) takeAll(now time.Time) (all []domain.LogInRefused) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var several domain.LogInRefused
	sums := make([]*domain.LogInRefused, 0, len(l.sums))
	for _, s := range l.sums {
		sums = append(sums, s)
	}
	slices.SortFunc(sums, func(a, b *domain.LogInRefused) int { return cmp.Compare(b.Count, a.Count) })
	for _, s := range sums {
		if s.User != "" && l.events.AllowN(now, 1) {
			all = append(all, *s)
		} else {
			several.Merge(*s)
		}
	}
	clear(l.sums)
	if several.Count+several.Held > 0 {
		all = append(all, several)
	}
	for id, r := range l.recent { // what found no room in an event
		if r.underWay == 0 && r.failed.Forgotten(now) {
			delete(l.recent, id)
		}
	}
	return all
}

// putBack counts again what was not written.
func (l *logIns) putBack(e domain.LogInRefused, account string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.sums[account]; s != nil {
		e.Merge(*s)
	}
	l.sums[account] = &e
}

// settle forgets what is in the read model.
func (l *logIns) settle(e domain.LogInRefused) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, b := range e.Failures() {
		if recent, found := l.recent[id]; found {
			recent.failed.Failures -= b.Failures
			l.set(id, recent)
		}
	}
}

// noteFailedLogIn puts an attempt that failed on the ledger, at once or with the next flush.
func (h *Handler) noteFailedLogIn(ctx context.Context, account, correlation string) error {
	e, found := h.logIns.take(account, h.clock())
	if !found {
		return nil
	}
	return h.writeLogIns(ctx, e, account, correlation)
}

// writeLogIns writes one event and waits until the read model has it.
func (h *Handler) writeLogIns(ctx context.Context, e domain.LogInRefused, account, correlation string) error {
	ref := eventstore.LogInsRef(e.User)
	end, err := h.ledger.Last(ctx, ref)
	var o result[domain.LogIns]
	if err == nil {
		assumed := &assumption[domain.LogIns]{position: end, base: true}
		o, err = execute(ctx, h, ref, Request{By: domain.Authenticator, Correlation: correlation}, assumed, func(domain.LogIns) (domain.Event, error) { return e, nil })
	}
	if err != nil {
		h.logIns.putBack(e, account)
		return err
	}
	_ = h.logIns.index.WaitFor(ctx, o.position) // a read model that is behind has it soon
	h.logIns.settle(e)
	return nil
}

// WriteLogIns writes, until ctx ends, the sums of attempts to log in that failed.
func (h *Handler) WriteLogIns(ctx context.Context) {
	tick := time.NewTicker(logInFlush)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
		h.flushLogIns(context.WithoutCancel(ctx))
	}
}

// flushLogIns writes all sums. It has the time of one flush for it.
func (h *Handler) flushLogIns(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, logInFlush)
	defer cancel()
	for _, e := range h.logIns.takeAll(h.clock()) {
		if err := h.writeLogIns(ctx, e, string(e.User), ""); err != nil {
			h.log.WarnContext(ctx, "failed log-ins not written; a later flush tries again", "user", e.User, "err", err)
		}
	}
}
