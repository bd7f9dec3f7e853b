package password

import (
	"context"
	"errors"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keytrail/keytrail/internal/inflight"
)

// share is the part of all processors that hashing has in the long run. With what collecting
// its memory costs it stays below 15 %.
const share = 0.12

// processors is what share is of: read before the service raises GOMAXPROCS for a thread that waits
// for the disk, which makes no more processors.
var processors = runtime.GOMAXPROCS(0)

// burst is for how long share can be saved up, so that some log-ins after quiet are immediate.
const burst = time.Second

// The bounds of those who wait for a turn. One address that sends many passwords at once is not to
// have the queue for itself; and what waits longer than maxWait has been given up by its person.
const (
	maxWaiting           = 256 // of each class
	maxWaitingPerAddress = 16
)

var maxWait = 10 * time.Second // tests lower it

// ErrBusy says that too many passwords wait to be hashed.
var ErrBusy = errors.New("too many passwords wait to be hashed")

// A Class is one of the two queues of a pool, which are served in turn as long as both have
// someone: whatever comes to the one leaves the other half of the pool.
type Class int

// The queues.
const (
	Strangers Class = iota // all who send a password
	Known                  // who has logged in from where they are, and who has a key or a session
)

// A Client is on whose behalf a password is hashed.
type Client struct {
	Class   Class
	Address netip.Addr // all addresses of an IPv6 /64 network count as one
}

// A Pool hashes passwords at a bounded cost, however many come: a few at a time,
// which bounds their memory, and with a part of the processor, which is counted in the time that each
// hash takes. A hash that must wait does so in a bounded queue, in which addresses take turns.
//
// The time is that on the clock, times the threads of the hash. It is never less than
// that of the processor: a busy machine makes hashing slower than the bound asks.
type Pool struct {
	work func(func()) time.Duration // does something and tells how long it took

	mu      sync.Mutex
	free    int           // slots
	balance time.Duration // of processor time, as of at; below 0: a debt
	at      time.Time
	queues  [2]queue
	next    Class // whose turn it is
	timer   *time.Timer

	hashes, refused prometheus.Counter
	seconds         prometheus.Counter
}

// NewPool is a pool for this process.
func NewPool() *Pool {
	p := &Pool{free: max(1, processors/4), at: time.Now(), work: stopwatch,
		hashes:  prometheus.NewCounter(prometheus.CounterOpts{Name: "keytrail_password_hashes_total", Help: "Passwords that were hashed."}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{Name: "keytrail_password_refused_total", Help: "Passwords that were not hashed because too many waited."}),
		seconds: prometheus.NewCounter(prometheus.CounterOpts{Name: "keytrail_password_hashing_seconds_total", Help: "Time that hashing passwords took."})}
	p.balance = p.allowance(burst)
	for i := range p.queues {
		p.queues[i].waiting = map[netip.Addr][]*waiter{}
	}
	p.timer = time.AfterFunc(time.Hour, p.tick)
	p.timer.Stop()
	return p
}

func stopwatch(f func()) time.Duration {
	begun := time.Now()
	f()
	return time.Since(begun)
}

// Metrics are those of the pool.
func (p *Pool) Metrics() []prometheus.Collector {
	return []prometheus.Collector{p.hashes, p.refused, p.seconds, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "keytrail_passwords_waiting", Help: "Passwords that wait to be hashed."}, func() float64 {
		p.mu.Lock()
		defer p.mu.Unlock()
		return float64(p.queues[Strangers].length + p.queues[Known].length)
	})}
}

// Hash makes the PHC string of a password that Check has no objection to.
func (p *Pool) Hash(ctx context.Context, c Client, text string) (phc string, err error) {
	normal, err := normalize(text)
	if err != nil {
		return "", err
	}
	err = p.do(ctx, c, current.threads, func() { phc = newHash(normal).String() })
	return phc, err
}

// Matches tells whether text is the password of which phc is the hash. It does the same work if
// phc is "", because there is no user or the user has no password: then nothing matches.
func (p *Pool) Matches(ctx context.Context, c Client, phc, text string) (matches bool, err error) {
	h := dummy
	if phc != "" {
		if h, err = parse(phc); err != nil {
			return false, err
		}
	}
	normal, unusual := normalize(text)
	err = p.do(ctx, c, h.threads, func() { matches = h.matches(normal) })
	return matches && unusual == nil && phc != "", err
}

// do carries f out when it is the client's turn; ErrBusy if that does not come.
func (p *Pool) do(ctx context.Context, c Client, threads uint8, f func()) error {
	w := p.enter(c)
	if w == nil {
		p.refused.Inc()
		return ErrBusy
	}
	timeout := time.NewTimer(maxWait)
	defer timeout.Stop()
	err := ErrBusy
	select {
	case granted := <-w.granted:
		if granted {
			p.leave(p.work(f) * time.Duration(threads))
			return nil
		}
	case <-ctx.Done():
		err = ctx.Err()
		p.giveUp(w)
	case <-timeout.C:
		p.giveUp(w)
	}
	p.refused.Inc()
	return err
}

// A waiter is a place in a queue.
type waiter struct {
	Client
	granted chan bool // has one value: whether it is the waiter's turn; false: its place went to another address
}

// enter takes a place; nil if there is none.
func (p *Pool) enter(c Client) *waiter {
	c.Address = inflight.Holder(c.Address)
	w := &waiter{c, make(chan bool, 1)}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.queues[c.Class].push(w) {
		return nil
	}
	p.grant()
	return w
}

// leave gives a slot back that took so much time.
func (p *Pool) leave(took time.Duration) {
	p.hashes.Inc()
	p.seconds.Add(took.Seconds())
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free++
	p.balance -= took
	p.grant()
}

// giveUp leaves the queue, or gives a turn back that came at the same moment.
func (p *Pool) giveUp(w *waiter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.queues[w.Class].remove(w) && <-w.granted {
		p.free++
		p.grant()
	}
}

func (p *Pool) tick() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.grant()
}

// grant gives turns as long as there are slots, time, and waiters.
func (p *Pool) grant() {
	now := time.Now()
	p.balance = min(p.balance+p.allowance(now.Sub(p.at)), p.allowance(burst))
	p.at = now
	for p.free > 0 && p.queues[Strangers].length+p.queues[Known].length > 0 {
		if p.balance <= 0 {
			p.timer.Reset(time.Duration(float64(-p.balance)/(share*float64(processors))) + time.Millisecond)
			return
		}
		if p.queues[p.next].length == 0 {
			p.next = 1 - p.next
		}
		p.free--
		p.queues[p.next].pop().granted <- true
		p.next = 1 - p.next
	}
}

// allowance is the processor time that hashing has in a time on the clock.
func (p *Pool) allowance(d time.Duration) time.Duration {
	return time.Duration(share * float64(processors) * float64(d))
}

// A queue gives turns to addresses by round robin.
type queue struct {
	waiting map[netip.Addr][]*waiter // oldest first; none is empty
	order   []netip.Addr             // who waits, in the order of their turns
	length  int
}

// push adds w, if need be in the place of the newest of the address that has most: a full queue takes
// an address that has none in it as long as another has two.
func (q *queue) push(w *waiter) bool {
	own := len(q.waiting[w.Address])
	if own >= maxWaitingPerAddress || q.length >= maxWaiting && !q.displace(own+1) {
		return false
	}
	if own == 0 {
		q.order = append(q.order, w.Address)
	}
	q.waiting[w.Address] = append(q.waiting[w.Address], w)
	q.length++
	return true
}

// displace takes the newest waiter out of the address that has most, if that is more than so many.
func (q *queue) displace(than int) bool {
	most := slices.MaxFunc(q.order, func(a, b netip.Addr) int { return len(q.waiting[a]) - len(q.waiting[b]) })
	all := q.waiting[most]
	if len(all) <= than {
		return false
	}
	newest := all[len(all)-1]
	q.remove(newest)
	newest.granted <- false
	return true
}

// pop takes the next one out. The queue is not empty.
func (q *queue) pop() *waiter {
	address := q.order[0]
	first := q.waiting[address][0]
	q.remove(first)
	if len(q.waiting[address]) > 0 { // it is the last one now
		q.order = append(q.order[1:], address)
	}
	return first
}

// remove takes w out; false if it is not in.
func (q *queue) remove(w *waiter) bool {
	all := q.waiting[w.Address]
	i := slices.Index(all, w)
	if i < 0 {
		return false
	}
	q.length--
	if q.waiting[w.Address] = slices.Delete(all, i, i+1); len(all) == 1 {
		delete(q.waiting, w.Address)
		at := slices.Index(q.order, w.Address)
		q.order = slices.Delete(q.order, at, at+1)
	}
	return true
}
