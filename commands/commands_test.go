package commands_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
)

// faulty breaks the real ledger's appends.
type faulty struct {
	*eventstore.Ledger
	mu      sync.Mutex // held for the counts while appends run
	refuse  int        // appends that fail before they are written
	loseAck int        // appends that fail after they were
	appends int
	refused func()      // called at each append that is refused
	before  func(n int) // before the append number n
}

var errFault = errors.New("the network is down")

func (f *faulty) Append(ctx context.Context, ref eventstore.Ref, after eventstore.Position, c eventstore.Command, e domain.Event) (eventstore.Position, error) {
	n, refuse := f.count()
	if f.before != nil {
		f.before(n)
	}
	if refuse {
		if f.refused != nil {
			f.refused()
		}
		return 0, errFault
	}
	p, err := f.Ledger.Append(ctx, ref, after, c, e)
	if err == nil && f.take(&f.loseAck) {
		return 0, errFault
	}
	return p, err
}

// count is the number of an append, and whether it is to be refused.
func (f *faulty) count() (n int, refuse bool) {
	refuse = f.take(&f.refuse)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.appends++
	return f.appends - 1, refuse
}

// take takes one of what is left.
func (f *faulty) take(left *int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if *left <= 0 {
		return false
	}
	*left--
	return true
}

type fixture struct {
	*commands.Handler
	t      *testing.T
	ledger *faulty
	org    domain.OrgID
}

func setUp(t *testing.T) fixture {
	t.Helper()
	return setUpOn(t, eventstoretest.New(t))
}

func setUpOn(t *testing.T, l *eventstore.Ledger) fixture {
	t.Helper()
	ledger := &faulty{Ledger: l}
	f := fixture{commands.New(ledger, commands.Options{}), t, ledger, ""}
	o, err := f.CreateOrganization(t.Context(), commands.CreateOrganization{Request: by(domain.System), Name: "acme"})
	if err != nil {
		t.Fatal(err)
	}
	f.org = o.Organization.ID
	return f
}

func by(p domain.Principal) commands.Request { return commands.Request{By: p} }

func (f fixture) create(c commands.CreateKey) commands.KeyResult {
	f.t.Helper()
	r, err := f.CreateKey(f.t.Context(), c)
	if err != nil {
		f.t.Fatal(err)
	}
	return r
}

func (f fixture) simple() commands.CreateKey {
	return commands.CreateKey{Request: by(domain.System), Org: f.org, Settings: domain.Settings{Name: "ci", Scopes: []string{"a:read"}}}
}

// check verifies what must hold of the ledger after any scenario: each command wrote at
// most one event, and each history is one that the decisions allow.
func (f fixture) check(ref eventstore.Ref, events int) {
	f.t.Helper()
	var history []eventstore.Record
	_, err := f.ledger.Load(f.t.Context(), ref, 0, func(r eventstore.Record) { history = append(history, r) })
	if err != nil {
		f.t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, r := range history {
		if seen[r.Command.ID] {
			f.t.Errorf("command %s wrote twice", r.Command.ID)
		}
		seen[r.Command.ID] = true
	}
	if len(history) != events {
		f.t.Errorf("%d events, want %d", len(history), events)
	}
}

func TestARepeatedCreateFindsTheFirst(t *testing.T) {
	f := setUp(t)
	c := f.simple()
	c.CommandID, c.Fingerprint = "once", "body"
	first, again := f.create(c), f.create(c)
	if first.Key.ID != again.Key.ID || first.Position != again.Position || !again.Replayed || first.Replayed {
		t.Errorf("first %+v, again %+v", first, again)
	}
	if first.Secret.Reveal() == "" || again.Secret.Reveal() != "" {
		t.Error("the secret belongs into the first answer alone")
	}
	c.Fingerprint = "another body"
	if _, err := f.CreateKey(t.Context(), c); !errors.Is(err, domain.ErrIdempotencyMismatch) {
		t.Errorf("another body under the same key: %v", err)
	}
	f.check(eventstore.KeyRef(f.org, first.Key.ID), 1)
}

func TestOfConcurrentEqualCreatesOneHasTheSecret(t *testing.T) {
	f := setUp(t)
	c := f.simple()
	c.CommandID = "once"
	results := make([]commands.KeyResult, 6)
	var wg sync.WaitGroup
	h := commands.New(f.ledger.Ledger, commands.Options{})
	for i := range results {
		wg.Go(func() {
			var err error
			if results[i], err = h.CreateKey(t.Context(), c); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	secrets := 0
	for _, r := range results {
		if text := r.Secret.Reveal(); text != "" {
			secrets++
			if domain.NewSecret(text).Digest() != r.Key.Secrets[0].Digest {
				t.Error("a secret was handed out that the key does not have")
			}
		}
	}
	if secrets != 1 {
		t.Errorf("%d callers got a secret, want 1", secrets)
	}
}

func TestFaultsLoseNothingAndWriteNothingTwice(t *testing.T) {
	for name, fault := range map[string]func(*faulty){
		"refused before it is written": func(l *faulty) { l.refuse = 2 },
		"acknowledgement lost":         func(l *faulty) { l.loseAck = 1 },
		"both":                         func(l *faulty) { l.refuse, l.loseAck = 1, 1 },
	} {
		t.Run(name, func(t *testing.T) {
			f := setUp(t)
			fault(f.ledger)
			r := f.create(f.simple())
			if domain.NewSecret(r.Secret.Reveal()).Digest() != r.Key.Secrets[0].Digest {
				t.Error("the caller does not have the key's secret")
			}
			f.check(eventstore.KeyRef(f.org, r.Key.ID), 1)
			fault(f.ledger)
			rotated, err := f.RotateKey(t.Context(), commands.RotateKey{Request: by(domain.System), Org: f.org, Key: r.Key.ID})
			if err != nil || domain.NewSecret(rotated.Secret.Reveal()).Digest() != rotated.Key.Secrets[0].Digest {
				t.Errorf("rotate: %v", err)
			}
			f.check(eventstore.KeyRef(f.org, r.Key.ID), 2)
		})
	}
}

func TestAFaultThatLastsIsTold(t *testing.T) {
	f := setUp(t)
	f.ledger.refuse = 1 << 30
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := f.CreateKey(ctx, f.simple()); !errors.Is(err, errFault) && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("create: %v", err)
	}
	if f.ledger.appends < 2 || f.ledger.appends > 100 {
		t.Errorf("%d attempts", f.ledger.appends)
	}
}

// An event that cannot be written is not tried again: a time in the year 10000 has no JSON.
func TestWhatCannotSucceedIsNotRepeated(t *testing.T) {
	f := setUp(t)
	h := commands.New(f.ledger, commands.Options{Now: func() time.Time { return time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }})
	f.ledger.appends = 0
	_, err := h.CreateKey(t.Context(), f.simple())
	if eventstore.FailureOf(err) != eventstore.Refused || errors.Is(err, domain.ErrLedgerUnavailable) {
		t.Errorf("create: %v", err)
	}
	if f.ledger.appends != 1 {
		t.Errorf("%d attempts", f.ledger.appends)
	}
}

// Conflicts are repeated until a deadline, not a number of times.
func TestEveryWriterOfOneKeyGetsItsTurn(t *testing.T) {
	f := setUp(t)
	r := f.create(f.simple())
	h := commands.New(f.ledger.Ledger, commands.Options{})
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			name := fmt.Sprint("name ", i)
			if _, err := h.UpdateKey(t.Context(), commands.UpdateKey{Request: by(domain.System), Org: f.org, Key: r.Key.ID, Changes: domain.Changes{Name: &name}}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	f.check(eventstore.KeyRef(f.org, r.Key.ID), 41)
}

func TestIfMatchRefusesAStaleRevision(t *testing.T) {
	f := setUp(t)
	r := f.create(f.simple())
	disable := commands.DisableKey{Request: by(domain.System), Org: f.org, Key: r.Key.ID}
	disable.IfMatch = r.Position
	if _, err := f.DisableKey(t.Context(), disable); err != nil {
		t.Fatal(err)
	}
	enable := commands.EnableKey{Request: disable.Request, Org: f.org, Key: r.Key.ID}
	if _, err := f.EnableKey(t.Context(), enable); !errors.Is(err, domain.ErrRevisionStale) {
		t.Errorf("enable at a revision that has passed: %v", err)
	}
}

func TestNobodyGrantsOrReachesMoreThanTheyHave(t *testing.T) {
	f := setUp(t)
	other, err := f.CreateOrganization(t.Context(), commands.CreateOrganization{Request: by(domain.System), Name: "globex"})
	if err != nil {
		t.Fatal(err)
	}
	admin := domain.Principal{ID: "a", Org: f.org, Scopes: []string{"keys:write"}}
	create := func(p domain.Principal, org domain.OrgID, keyspace string, scopes ...string) error {
		_, err := f.CreateKey(t.Context(), commands.CreateKey{Request: by(p), Org: org, Keyspace: keyspace, Settings: domain.Settings{Name: "n", Scopes: scopes}})
		return err
	}
	for name, c := range map[string]struct{ err, want error }{
		"own scopes":                {create(admin, f.org, "keytrail", "keys:write"), nil},
		"a scope it lacks":          {create(admin, f.org, "keytrail", "keys:read"), domain.ErrScopeEscalation},
		"a wildcard":                {create(admin, f.org, "keytrail", "keys:*"), domain.ErrScopeEscalation},
		"a product's scope":         {create(admin, f.org, "default", "anything:*"), nil},
		"another organization":      {create(admin, other.Organization.ID, "default"), domain.ErrOutOfReach},
		"the whole installation":    {create(admin, domain.Installation, "keytrail", "keys:write"), domain.ErrOutOfReach},
		"no such organization":      {create(domain.System, domain.NewOrgID("nobody"), "default"), domain.ErrOrganizationNotFound},
		"root for the installation": {create(domain.System, domain.Installation, "keytrail", "keys:verify"), nil},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v, want %v", name, c.err, c.want)
		}
	}
	strong := f.create(commands.CreateKey{Request: by(domain.System), Org: f.org, Keyspace: "keytrail", Settings: domain.Settings{Name: "n", Scopes: []string{"*"}}})
	if _, err := f.RotateKey(t.Context(), commands.RotateKey{Request: by(admin), Org: f.org, Key: strong.Key.ID}); !errors.Is(err, domain.ErrScopeEscalation) {
		t.Errorf("rotating a stronger key: %v", err)
	}
}

func TestImportingADigestTwiceIsOneKey(t *testing.T) {
	f := setUp(t)
	c := commands.ImportKey{Request: by(domain.System), Org: f.org, Settings: domain.Settings{Name: "old"}, Digest: domain.NewSecret("x").Digest()}
	first, err := f.ImportKey(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	again, err := f.ImportKey(t.Context(), c)
	if err != nil || !again.Replayed || again.Key.ID != first.Key.ID {
		t.Errorf("again: %+v, %v", again, err)
	}
	f.check(eventstore.KeyRef(f.org, first.Key.ID), 1)
}

func TestBoundsNameTheField(t *testing.T) {
	f := setUp(t)
	long := func(n int) string { return strings.Repeat("x", n) }
	many := func(n int) (s []string) {
		for i := range n {
			s = append(s, fmt.Sprintf("a:b%d", i))
		}
		return s
	}
	limit := func(n int64, w time.Duration) []domain.RateLimit {
		return []domain.RateLimit{{Limit: n, Window: domain.Duration(w)}}
	}
	for name, c := range map[string]struct {
		set   func(*commands.CreateKey)
		field string
	}{
		"name at the bound":    {func(c *commands.CreateKey) { c.Name = long(200) }, ""},
		"name too long":        {func(c *commands.CreateKey) { c.Name = long(201) }, "name"},
		"no name":              {func(c *commands.CreateKey) { c.Name = "" }, "name"},
		"control character":    {func(c *commands.CreateKey) { c.Name = "a\x00b" }, "name"},
		"bad UTF-8":            {func(c *commands.CreateKey) { c.Owner = "\xff" }, "owner"},
		"100 scopes":           {func(c *commands.CreateKey) { c.Scopes = many(100) }, ""},
		"101 scopes":           {func(c *commands.CreateKey) { c.Scopes = many(101) }, "scopes"},
		"scope without action": {func(c *commands.CreateKey) { c.Scopes = []string{"a:b", "a"} }, "scopes[1]"},
		"scope twice":          {func(c *commands.CreateKey) { c.Scopes = []string{"a:b", "a:b"} }, "scopes"},
		"bad network":          {func(c *commands.CreateKey) { c.AllowedCIDRs = []string{"10.0.0.0/33"} }, "allowed_cidrs[0]"},
		"one address":          {func(c *commands.CreateKey) { c.AllowedCIDRs = []string{"192.0.2.1"} }, ""},
		"metadata name":        {func(c *commands.CreateKey) { c.Metadata = map[string]string{"a b": "x"} }, "metadata"},
		"metadata value":       {func(c *commands.CreateKey) { c.Metadata = map[string]string{"a": long(501)} }, "metadata"},
		"limit of 0":           {func(c *commands.CreateKey) { c.RateLimits = limit(0, time.Minute) }, "rate_limits[0].limit"},
		"window of 500ms":      {func(c *commands.CreateKey) { c.RateLimits = limit(1, time.Second/2) }, "rate_limits[0].window"},
		"same window twice":    {func(c *commands.CreateKey) { c.RateLimits = append(limit(1, time.Hour), limit(2, time.Hour)...) }, "rate_limits"},
		"past expiry":          {func(c *commands.CreateKey) { c.ExpiresAt = time.Now().Add(-time.Hour) }, "expires_at"},
		"year 10000":           {func(c *commands.CreateKey) { c.ExpiresAt = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }, "expires_at"},
		"ttl and expiry": {func(c *commands.CreateKey) {
			c.TTL, c.ExpiresAt = domain.Duration(time.Hour), time.Now().Add(time.Hour)
		}, "ttl"},
		"negative ttl":     {func(c *commands.CreateKey) { c.TTL = -1 }, "ttl"},
		"unknown keyspace": {func(c *commands.CreateKey) { c.Keyspace = "nope" }, "keyspace"},
		"no organization":  {func(c *commands.CreateKey) { c.Org = domain.Installation }, "org_id"},
	} {
		t.Run(name, func(t *testing.T) {
			create := f.simple()
			c.set(&create)
			_, err := f.CreateKey(t.Context(), create)
			var refusal *domain.Error
			switch {
			case c.field == "" && err != nil:
				t.Errorf("refused: %v", err)
			case c.field != "" && (!errors.As(err, &refusal) || refusal.Kind != domain.Invalid || refusal.Field != c.field):
				t.Errorf("%+v, want %s refused", err, c.field)
			}
		})
	}
}

func TestTheRootKeyIsMadeOnceAndKeptFirst(t *testing.T) {
	log := eventstoretest.New(t)
	h := commands.New(log, commands.Options{})
	lost := errors.New("disk full")
	if _, err := h.EnsureRootKey(t.Context(), func(domain.Secret) error { return lost }); !errors.Is(err, lost) {
		t.Fatal(err)
	}
	if end, _ := log.End(t.Context(), eventstore.Events); end != 0 {
		t.Fatal("the ledger has a root key whose secret nobody kept")
	}
	var kept int
	for range 2 {
		if _, err := h.EnsureRootKey(t.Context(), func(domain.Secret) error { kept++; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if kept != 1 {
		t.Errorf("the secret was kept %d times", kept)
	}
}
