package domain

import (
	"net/netip"
	"time"
)

// A Backoff counts the wrong passwords of one account, one address, or one account at one address.
type Backoff struct {
	Failures int       `json:"failures"`
	Last     time.Time `json:"last"`
}

// A BackoffPolicy says how long a Backoff waits: so many failures are free, the next one is
// followed by a second, and each after it by twice the time of the one before, up to Longest.
type BackoffPolicy struct {
	Free    int
	Longest time.Duration
}

// The policies. An account is what is guessed at: 96 passwords a day at most. At an
// address there may be a whole office.
var (
	AccountBackoff = BackoffPolicy{Free: 5, Longest: 15 * time.Minute}
	AddressBackoff = BackoffPolicy{Free: 30, Longest: 30 * time.Second}
)

// BackoffMemory is how long failures count from the last one on.
const BackoffMemory = 24 * time.Hour

// Forgotten tells whether the failures count no longer.
func (b Backoff) Forgotten(now time.Time) bool { return now.Sub(b.Last) >= BackoffMemory }

// Plus is b with failures that came since, or, of two processes, at the same time.
func (b Backoff) Plus(c Backoff) Backoff {
	switch {
	case c.Failures == 0:
		return b
	case b.Forgotten(c.Last):
		return c
	}
	return Backoff{b.Failures + c.Failures, later(b.Last, c.Last)}
}

// Wait is how long to wait before the next attempt, while others are under way; 0: no longer. Attempts
// under way count as failures: else a thousand at once would all be free. A clock that was set back
// makes no one wait for longer than p.Longest.
func (b Backoff) Wait(p BackoffPolicy, underWay int, now time.Time) time.Duration {
	if b.Forgotten(now) {
		b.Failures = 0
	}
	over := b.Failures - p.Free
	if underWay > 0 && over+underWay >= 0 {
		return time.Second // until it is known how they ended
	}
	if over < 0 {
		return 0
	}
	delay := min(time.Second<<min(over, 20), p.Longest)
	return min(max(b.Last.Add(delay).Sub(now), 0), delay)
}

// LogInRefused sums up attempts to log in that failed: those of one user, or of several accounts,
// when there are more than have an event each, and of addresses that no user has.
type LogInRefused struct {
	User      UserID            `json:"user_id,omitempty"`
	Count     int               `json:"count"`          // of wrong passwords
	Held      int               `json:"held,omitempty"` // of attempts that were answered 429, and not looked at
	First     time.Time         `json:"first"`
	Addresses []AddressFailures `json:"addresses,omitempty"` // at most 20
	Accounts  []AccountFailures `json:"accounts,omitempty"`  // of several, at most 100
	Header
}

// AddressFailures are the wrong passwords that came from an address.
type AddressFailures struct {
	IP    string `json:"ip"`              // of IPv6, the /64 network
	Known bool   `json:"known,omitempty"` // the user logged in from there before
	Count int    `json:"count"`
}

// AccountFailures are the wrong passwords that came for an account, not counting those from where
// its user logged in before.
type AccountFailures struct {
	Account string `json:"account"` // a user's id; where there is no user, a keyed hash of what was asked for
	Count   int    `json:"count"`
}

// The bounds of one event.
const (
	maxFailureAddresses = 20
	maxFailureAccounts  = 100
)

// A BackoffID says what a Backoff counts for.
type BackoffID string

// OfAccount is the back-off of those who try an account from somewhere new.
func OfAccount(account string) BackoffID { return BackoffID("account " + account) }

// OfKnown is the back-off of a user where they logged in before.
func OfKnown(u UserID, ip string) BackoffID { return BackoffID("known " + string(u) + " " + ip) }

// OfAddress is the back-off of an address where no user is known.
func OfAddress(ip string) BackoffID { return BackoffID("address " + ip) }

// Failures are what the event adds to each Backoff.
func (e LogInRefused) Failures() map[BackoffID]Backoff {
	all := map[BackoffID]Backoff{}
	add := func(id BackoffID, n int) {
		if n > 0 {
			all[id] = Backoff{all[id].Failures + n, e.At}
		}
	}
	strangers := e.Count
	for _, a := range e.Addresses {
		if a.Known {
			strangers -= a.Count
			add(OfKnown(e.User, a.IP), a.Count)
		} else {
			add(OfAddress(a.IP), a.Count)
		}
	}
	if e.User != "" {
		add(OfAccount(string(e.User)), strangers)
	}
	for _, a := range e.Accounts {
		add(OfAccount(a.Account), a.Count)
	}
	return all
}

// A LogInAttempt is one that failed.
type LogInAttempt struct {
	Account string // a user's id, or a keyed hash
	User    UserID // "": none
	IP      string // "": not known
	Known   bool
	Held    bool
	At      time.Time
}

// Add counts an attempt for e's user, or, if e has none, among several accounts.
func (e *LogInRefused) Add(a LogInAttempt) {
	e.First, e.At = firstOf(e.First, a.At), later(e.At, a.At)
	if a.Held {
		e.Held++
		return
	}
	e.Count++
	if a.IP != "" {
		e.addAddress(AddressFailures{a.IP, a.Known, 1})
	}
	if e.User == "" && !a.Known {
		e.addAccount(AccountFailures{a.Account, 1})
	}
}

// Merge counts what another event has.
func (e *LogInRefused) Merge(f LogInRefused) {
	if e.User == "" && f.User != "" {
		strangers := f.Failures()[OfAccount(string(f.User))].Failures
		if strangers > 0 {
			e.addAccount(AccountFailures{string(f.User), strangers})
		}
	}
	for _, a := range f.Addresses {
		a.Known = a.Known && e.User != ""
		e.addAddress(a)
	}
	for _, a := range f.Accounts {
		e.addAccount(a)
	}
	e.Count, e.Held = e.Count+f.Count, e.Held+f.Held
	e.First, e.At = firstOf(e.First, f.First), later(e.At, f.At)
}

// addAddress counts an address, if there is room for it. A known one always has some: users come
// from few.
func (e *LogInRefused) addAddress(a AddressFailures) {
	for i := range e.Addresses {
		if of := &e.Addresses[i]; of.IP == a.IP && of.Known == a.Known {
			of.Count += a.Count
			return
		}
	}
	if len(e.Addresses) < maxFailureAddresses || a.Known && len(e.Addresses) < maxFailureAddresses+maxKnownAddresses {
		e.Addresses = append(e.Addresses, a)
	}
}

func (e *LogInRefused) addAccount(a AccountFailures) {
	for i := range e.Accounts {
		if of := &e.Accounts[i]; of.Account == a.Account {
			of.Count += a.Count
			return
		}
	}
	if len(e.Accounts) < maxFailureAccounts {
		e.Accounts = append(e.Accounts, a)
	}
}

func firstOf(a, b time.Time) time.Time {
	if a.IsZero() {
		return b
	}
	return sooner(a, b)
}

// LogIns are the attempts to log in that failed. They have a history and no state of their own.
type LogIns struct{}

// Apply moves l past e. It cannot fail and must not judge: e already happened.
func (*LogIns) Apply(e Event) {
	switch e.(type) {
	case LogInRefused: // which changed nothing
	}
}

// maxKnownAddresses is from how many addresses a user is known.
const maxKnownAddresses = 20

// KnownAddresses are those from where a user logged in with their password, the latest first.
type KnownAddresses []string

// With is k with an address, which takes the place of the one that is the longest ago.
func (k KnownAddresses) With(ip string) KnownAddresses {
	with := KnownAddresses{ip}
	for _, x := range k {
		if x != ip && len(with) < maxKnownAddresses {
			with = append(with, x)
		}
	}
	return with
}

// LogInAddress is what of a client's address counts: of an IPv6 address the /64 network, of which
// one host can have every address. "": it is not known.
func LogInAddress(ip netip.Addr) string {
	ip = ip.Unmap().WithZone("")
	switch {
	case !ip.IsValid():
		return ""
	case ip.Is6():
		return netip.PrefixFrom(ip, 64).Masked().Addr().String()
	}
	return ip.String()
}
