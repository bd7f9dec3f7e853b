package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keytrail/keytrail/domain"
	"golang.org/x/sync/errgroup"
)

// A logInsTrial is verification beside log-ins.
type logInsTrial struct {
	Round   int     `json:"round"`
	Uses    state   `json:"uses"`
	Flood   string  `json:"flood"`         // the name of a flood
	Sent    int64   `json:"wrong_sent"`    // wrong passwords
	Held    int64   `json:"wrong_held"`    // of them held by the back-off
	Busy    int64   `json:"wrong_busy"`    // of them refused because too many waited
	Hashing float64 `json:"hashing_share"` // of all processors
	Before  int64   `json:"resident_before"`
	Peak    int64   `json:"resident_peak"`
	Known   honest  `json:"known"`     // people who log in from where they did before
	New     honest  `json:"elsewhere"` // and from where none ever did
	measurement
}

// honest are people with the right password, one after the other.
type honest struct {
	Asked int64 `json:"asked"`
	In    int64 `json:"logged_in"`
	percentiles
}

// A flood is wrong passwords from addresses, for accounts of which every other one exists. The first one
// is what the others are compared with.
type flood struct {
	name      string
	addresses int
}

var floods = []flood{{name: "none"}, {"from one address", 1}, {"from 20,000 addresses", 20_000}}

// The rates, a second. The pool hashes some ten a core.
const (
	wrongPasswords = 300
	honestLogIns   = 1 // of either kind
)

// logIns verifies keys beside each flood, in an order that changes with the round.
func logIns(ctx context.Context, e *env) error {
	people := newCrowd(e)
	if err := people.settleIn(ctx); err != nil {
		return err
	}
	all := slices.Clone(floods)
	for round := range e.rounds {
		for _, f := range all {
			t := logInsTrial{Round: round, Uses: e.service.uses, Flood: f.name}
			if err := people.trial(ctx, f, &t); err != nil {
				return fmt.Errorf("%s: %w", f.name, err)
			}
			e.logf("  round %d, %-21s: %7.0f verifications/s, hashing %4.1f %%, %3.0f MB more, %d wrong (%d held, %d busy), known %d of %d in, elsewhere %d of %d", round+1, f.name, t.PerSecond,
				t.Hashing*100, megabytes(t.Peak-t.Before), t.Sent, t.Held, t.Busy, t.Known.In, t.Known.Asked, t.New.In, t.New.Asked)
			e.report.LogIns = append(e.report.LogIns, t)
		}
		slices.Reverse(all)
	}
	return nil
}

// A crowd logs in. Its client has as many connections as log-ins wait.
type crowd struct {
	*env
	client   *http.Client
	attempts atomic.Int64 // wrong passwords so far, so that no address or account comes again soon
	next     atomic.Int64 // the next person who logs in from elsewhere
}

// regulars are people who are known where they log in from.
const regulars = 10

func newCrowd(e *env) *crowd {
	c := &crowd{env: e, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1024, DisableCompression: true}, Timeout: time.Minute}}
	c.next.Store(regulars)
	return c
}

// settleIn has the regulars log in once.
func (c *crowd) settleIn(ctx context.Context) error {
	for i := range regulars {
		if status, _, err := c.logIn(ctx, emailOf(i), peoplePassword, addressIn(198, i)); err != nil || status != http.StatusCreated {
			return errors.Join(err, fmt.Errorf("a right password was answered %d", status))
		}
	}
	return nil
}

func addressIn(network byte, i int) string {
	return fmt.Sprintf("%d.%d.%d.%d", network, byte(i>>16)&63, byte(i>>8), byte(i))
}

// logIn asks for a session as the client of a gateway that the service trusts; code says why it is
// refused.
func (c *crowd) logIn(ctx context.Context, email, password, address string) (status int, code string, err error) {
	body := fmt.Sprintf(`{"email":%q,"password":%q}`, email, password)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.service.url("/v1/sessions"), strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	req.Header = http.Header{"Content-Type": jsonContent, "X-Forwarded-For": {address}}
	res, err := c.client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	var refusal struct{ Code string }
	err = json.NewDecoder(res.Body).Decode(&refusal)
	return res.StatusCode, refusal.Code, err
}

func (c *crowd) trial(ctx context.Context, f flood, t *logInsTrial) error {
	defer c.client.CloseIdleConnections()
	if err := c.service.forgetPeak(); err != nil {
		return err
	}
	memory, err := c.service.memory()
	if err != nil {
		return err
	}
	busy, stop := context.WithCancel(ctx)
	defer stop()
	var beside errgroup.Group
	if f.addresses > 0 {
		beside.Go(func() error { return c.every(busy, wrongPasswords, c.guess(f, t)) })
		beside.Go(func() error { return c.every(busy, honestLogIns, c.regular(&t.Known)) })
		beside.Go(func() error { return c.every(busy, honestLogIns, c.stranger(&t.New)) })
	}
	if file := c.profile(fmt.Sprintf("log-ins-%s-%s", c.service.uses, f.name)); file != "" && t.Round == 0 {
		beside.Go(func() error { return c.service.saveProfile(ctx, file, c.warmUp+c.duration) })
	}
	w := c.evenly(slices.Max(c.connections), c.duration)
	w.WarmUp = c.warmUp
	began := time.Now()
	hashed, err1 := c.service.metric(ctx, hashingSeconds)
	var err2 error
	t.measurement, _, err2 = c.load(ctx, c.service.server, w)
	more, err3 := c.service.metric(ctx, hashingSeconds)
	t.Hashing = (more - hashed) / time.Since(began).Seconds() / float64(c.report.Machine.Cores)
	stop()
	var err4 error
	t.Before = memory.Resident
	t.Peak, err4 = c.service.peak()
	if err := errors.Join(err1, err2, err3, err4, beside.Wait()); err != nil {
		return err
	}
	_, err = c.untilIdle(ctx, c.service.pid)
	return err
}

// hashingSeconds is the metric of how long hashing took, by the clock: its processor time at least.
const hashingSeconds = "keytrail_password_hashing_seconds_total"

// guess sends a wrong password, and counts how it was refused.
func (c *crowd) guess(f flood, t *logInsTrial) func(context.Context, int) error {
	return func(ctx context.Context, _ int) error {
		i := int(c.attempts.Add(1))
		email := fmt.Sprintf("nobody%d@example.com", i)
		if i%2 == 0 {
			email = emailOf(c.keys/2 + i%(c.keys/2))
		}
		_, code, err := c.logIn(ctx, email, "wrong horse battery staple", addressIn(10, i%f.addresses))
		atomic.AddInt64(&t.Sent, 1)
		switch code {
		case domain.ErrLogInHeld.Code:
			atomic.AddInt64(&t.Held, 1)
		case domain.ErrTooManyPasswords.Code:
			atomic.AddInt64(&t.Busy, 1)
		case domain.ErrLogInFailed.Code:
		default:
			return errors.Join(err, fmt.Errorf("a wrong password was answered %q", code))
		}
		return err
	}
}

// regular logs a regular in, and stranger someone who never was here.
func (c *crowd) regular(h *honest) func(context.Context, int) error {
	return c.right(h, func() (int, byte) { return int(c.attempts.Add(1)) % regulars, 198 })
}

func (c *crowd) stranger(h *honest) func(context.Context, int) error {
	return c.right(h, func() (int, byte) { return int(c.next.Add(1)) % (c.keys / 2), 172 })
}

// right logs in with the right password, and notes whether that was the answer, and when.
func (c *crowd) right(h *honest, who func() (person int, network byte)) func(context.Context, int) error {
	var mu sync.Mutex
	var took latencies
	return func(ctx context.Context, _ int) error {
		i, network := who()
		begun := time.Now()
		status, _, err := c.logIn(ctx, emailOf(i), peoplePassword, addressIn(network, i))
		mu.Lock()
		defer mu.Unlock()
		if h.Asked++; status == http.StatusCreated {
			h.In++
			took = append(took, time.Since(begun))
		}
		h.percentiles = slices.Clone(took).percentiles()
		return err
	}
}

// logInsFigures are one figure of each round.
func (r *report) logInsFigures(uses state, flood string, figure func(logInsTrial) float64) (all []float64) {
	for _, t := range r.LogIns {
		if t.Uses == uses && t.Flood == flood {
			all = append(all, figure(t))
		}
	}
	return all
}

func logInsRate(t logInsTrial) float64    { return t.PerSecond }
func logInsHashing(t logInsTrial) float64 { return t.Hashing }
func logInsMemory(t logInsTrial) float64  { return megabytes(t.Peak - t.Before) }

// in is the share of honest people who got in, over all rounds.
func (r *report) in(uses state, flood string, which func(logInsTrial) honest) float64 {
	var all honest
	for _, t := range r.LogIns {
		if t.Uses == uses && t.Flood == flood {
			h := which(t)
			all.In, all.Asked = all.In+h.In, all.Asked+h.Asked
		}
	}
	return float64(all.In) / float64(max(all.Asked, 1))
}

func knownOf(t logInsTrial) honest { return t.Known }
func newOf(t logInsTrial) honest   { return t.New }

// The targets. Of a flood from so many addresses that each of them waits but once, a person from
// elsewhere is one more: only who is known is sure to get in.
const (
	wantBesideFlood = 0.8
	wantHashing     = 0.15
	wantFloodMemory = 200 // MB
)

func logInsTargets(r *report) (all []target) {
	for _, uses := range []state{relaxed, durable} {
		for _, f := range floods[1:] {
			rates, without := r.logInsFigures(uses, f.name, logInsRate), r.logInsFigures(uses, floods[0].name, logInsRate)
			if rates == nil {
				continue
			}
			for i := range rates {
				rates[i] /= without[i]
			}
			where := fmt.Sprintf("%s, wrong passwords %s: ", uses, f.name)
			ratio, share, memory := median(rates), slices.Max(r.logInsFigures(uses, f.name, logInsHashing)), slices.Max(r.logInsFigures(uses, f.name, logInsMemory))
			known, elsewhere := r.in(uses, f.name, knownOf), r.in(uses, f.name, newOf)
			fair := target{where + "people who got in from where none did before", "all", fmt.Sprintf("%.0f %%", elsewhere*100), elsewhere < 1}
			if f.addresses > 1 {
				fair.want, fair.missed = noTarget, false
			}
			all = append(all,
				target{where + "verification, as a share of the rate without", fmt.Sprintf("≥ %.1f", wantBesideFlood), fmt.Sprintf("%.2f (%.2f to %.2f)", ratio, slices.Min(rates), slices.Max(rates)), ratio < wantBesideFlood},
				target{where + "hashing's share of all processors", fmt.Sprintf("≤ %.0f %%", wantHashing*100), fmt.Sprintf("%.1f %%", share*100), share > wantHashing},
				target{where + "resident memory beyond that before, at its peak", fmt.Sprintf("≤ %d MB", wantFloodMemory), fmt.Sprintf("%.0f MB", memory), memory > wantFloodMemory},
				target{where + "people who got in from where they did before", "all", fmt.Sprintf("%.0f %%", known*100), known < 1},
				fair)
		}
	}
	return all
}

func logInsTable(r *report) string {
	t := table{
		before: fmt.Sprintf("## Log-ins\n\nVerification of keys at the largest number of connections beside %d wrong passwords a second, every other one of them for an account that exists, and %d right ones of\n"+
			"people who are known where they are, and as many of others. Medians of the rounds; a right password's time is the longest of all.\n", wrongPasswords, honestLogIns),
		columns: "uses | wrong passwords | verifications/s> | p99 µs> | hashing's share> | more memory, MB> | held> | busy> | known, s> | elsewhere, s>",
	}
	longest := func(which func(logInsTrial) honest) func(logInsTrial) float64 {
		return func(t logInsTrial) float64 { return which(t).Max / 1e6 }
	}
	for _, uses := range []state{relaxed, durable} {
		for _, f := range floods {
			of := func(figure func(logInsTrial) float64) []float64 { return r.logInsFigures(uses, f.name, figure) }
			if rates := of(logInsRate); rates != nil {
				t.row("%s | %s | %.0f | %.0f | %.1f %% | %.0f | %.0f | %.0f | %.1f | %.1f", uses, f.name, median(rates), median(of(func(t logInsTrial) float64 { return t.P99 })),
					median(of(logInsHashing))*100, median(of(logInsMemory)), median(of(func(t logInsTrial) float64 { return float64(t.Held) })), median(of(func(t logInsTrial) float64 { return float64(t.Busy) })),
					slices.Max(of(longest(knownOf))), slices.Max(of(longest(newOf))))
			}
		}
	}
	return t.String()
}
