package forwarders

import (
	"errors"
	"net/url"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/sony/gobreaker"

	"github.com/keytrail/keytrail/domain"
)

// The back-off between attempts. It doubles with each, ends at the longest, and begins anew when a
// receiver takes something. A half to one and a half of each is waited for, so that sinks that
// failed together do not come back together.
const (
	firstRetry   = 500 * time.Millisecond
	longestRetry = 5 * time.Minute // a receiver that is back is found back so soon
)

// retry repeats a handler for as long as it fails, but for errors that are permanent: nothing is
// passed over. MaxRetries below zero and MaxElapsedTime zero are no bounds.
var retry = middleware.Retry{
	MaxRetries: -1, InitialInterval: firstRetry, MaxInterval: longestRetry, Multiplier: 2, RandomizationFactor: 0.5, ResetContextOnRetry: true,
}

// maxSends bounds the attempts of a sink in a second, those that succeed included, so that one that
// catches up by single events leaves the processor to verification.
const maxSends = 2000

// chain is a pass's handler in its middleware. The router would keep the middleware of a handler
// for ever, also when the handler is gone, so it is put together here.
func (t *tenure) chain(p *pass) message.NoPublishHandlerFunc {
	h := func(m *message.Message) ([]*message.Message, error) { return nil, p.deliver(m) }
	for _, m := range []message.HandlerMiddleware{ // the innermost first
		p.recoverPanics,
		middleware.NewThrottle(maxSends, time.Second).Middleware,
		t.breakers.guard(p.sink),
		retry.Middleware,
	} {
		h = m(h)
	}
	return func(m *message.Message) error {
		_, err := h(m)
		return err
	}
}

// recoverPanics makes a panic an error that is retried like another one.
func (p *pass) recoverPanics(h message.HandlerFunc) message.HandlerFunc {
	h = middleware.Recoverer(h)
	return func(m *message.Message) ([]*message.Message, error) {
		out, err := h(m)
		var panicked middleware.RecoveredPanicError
		if errors.As(err, &panicked) {
			p.log().Error("a delivery panicked; will try again", "err", panicked.V, "stack", panicked.Stacktrace)
		}
		return out, err
	}
}

// The bounds of circuit breakers.
const (
	breakAfter = 5                // failures in a row
	breakFor   = 30 * time.Second // then one attempt tells whether the receiver is back
)

// breakers are the circuit breakers of receivers: while one does not answer, a single sink of an
// organization asks whether it is back, however many the organization has there. Those of another
// organization are not held to it.
type breakers struct {
	mu  sync.Mutex
	all map[string]middleware.CircuitBreaker
}

func newBreakers() *breakers { return &breakers{all: map[string]middleware.CircuitBreaker{}} }

// breakerOf names the circuit breaker of a sink's receiver.
func breakerOf(s Sink) string {
	if u, err := url.Parse(s.URL); err == nil && u.Host != "" && s.Org != domain.Installation {
		return string(s.Org) + " " + u.Host
	}
	return string(s.Sink)
}

// guard is the middleware that asks the circuit breaker that there is at each attempt.
func (b *breakers) guard(s Sink) message.HandlerMiddleware {
	name := breakerOf(s)
	return func(h message.HandlerFunc) message.HandlerFunc {
		return func(m *message.Message) ([]*message.Message, error) { return b.named(name).Middleware(h)(m) }
	}
}

// forget lets all that share a sink's circuit breaker try again.
func (b *breakers) forget(s Sink) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.all, breakerOf(s))
}

func (b *breakers) named(name string) middleware.CircuitBreaker {
	b.mu.Lock()
	defer b.mu.Unlock()
	c, ok := b.all[name]
	if !ok {
		c = middleware.NewCircuitBreaker(gobreaker.Settings{
			Name: name, MaxRequests: 1, Timeout: breakFor,
			ReadyToTrip:  func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= breakAfter },
			IsSuccessful: answers,
		})
		b.all[name] = c
	}
	return c
}

// answers reports whether an error is not that of a receiver that cannot be reached.
func answers(err error) bool {
	var u *undelivered
	return !errors.As(err, &u) || !u.unreachable()
}
