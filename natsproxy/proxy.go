// Package natsproxy lets NATS clients of other machines read streams of the embedded server, each
// from the consumers that are its own, and do nothing else. To a client it is a NATS server: the
// password, or token, is a Keytrail key.
//
// It is a filter of the client protocol: each command of a client is parsed, judged, and written
// anew to a connection of the client's own inside the server, which keeps having no port and no
// users. Ports, users and permissions of the server itself are not enough:
//   - Permissions cover the subject of a request, and not where it has its answer sent. A reader
//     that may pull from a consumer could name keytrail.events.… there, and the server would store
//     what it answers on the ledger.
//   - The bounds of what waits for a slow client, and of requests to JetStream, are the server's.
//     The service's own connection, which must not be cut off, shares them.
package natsproxy

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/internal/inflight"
)

// Options of a proxy.
type Options struct {
	TLS *tls.Config // nil: none
	// Dial makes a connection to the NATS server, which asks for no credentials.
	Dial func() (net.Conn, error)
	// Authenticate finds whose secret it is. Its refusal is a domain.Error.
	Authenticate func(ctx context.Context, secret string, ip netip.Addr) (Reader, error)
	Logger       *slog.Logger
	Metrics      prometheus.Registerer
}

// A Reader is a client whose key was found valid.
type Reader struct {
	Key string // its id
	Org domain.OrgID
	// Reads tells whether the consumer of the stream is one that the key may read from.
	Reads func(stream, consumer string) bool
	// StillMay is nil, or why the key may read no longer.
	StillMay func() error
	// Reading notes that the client goes on reading. It is sent nothing if that fails.
	Reading func(context.Context) error
}

// Bounds of connections. A connection that waits for nothing costs two goroutines and 50 KiB.
const (
	maxConnections           = 1024
	maxConnectionsPerOrg     = 64
	maxUnauthenticated       = 128 // connections that have not shown a key yet
	maxUnauthenticatedPerIP  = 16
	authTimeout              = 5 * time.Second
	refusalDelay             = time.Second            // before a refusal: with maxUnauthenticatedPerIP, an address has 16 tries a second
	recheckEvery             = 100 * time.Millisecond // the keys of clients that are sent nothing; before anything is sent, they are checked anyway
	idleTimeout              = 3 * time.Minute        // the server pings each minute, and the client must answer
	reasonLimit              = "limit"
	reasonUnauthorized       = "unauthorized"
	reasonUnavailable        = "unavailable"
	errMaxConnections        = "maximum connections exceeded"
	errMaxAccountConnections = "maximum account active connections exceeded"
	errUnauthorized          = "Authorization Violation"
	errRevoked               = "User Authentication Revoked"
	errUnavailable           = "Service Unavailable"
)

// writeTimeout is how long a client may take to receive a piece of what it asked for. Tests shorten it.
var writeTimeout = 10 * time.Second

// A Proxy serves subscribers.
type Proxy struct {
	Options
	unauthenticated     chan struct{} // a semaphore
	unauthenticatedByIP *inflight.Counts[netip.Addr]
	byOrg               *inflight.Counts[domain.OrgID]
	refused             *prometheus.CounterVec

	mu      sync.Mutex
	clients map[*client]struct{} // that are authenticated
	running sync.WaitGroup
}

// New makes a proxy.
func New(o Options) *Proxy {
	p := &Proxy{Options: o, unauthenticated: make(chan struct{}, maxUnauthenticated), unauthenticatedByIP: inflight.New[netip.Addr](),
		byOrg: inflight.New[domain.OrgID](), clients: map[*client]struct{}{},
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "keytrail_nats_refused_total", Help: "Connections of NATS subscribers that were refused, by reason."}, []string{"reason"})}
	for _, reason := range []string{reasonLimit, reasonUnauthorized, reasonUnavailable} {
		p.refused.WithLabelValues(reason)
	}
	o.Metrics.MustRegister(p.refused, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "keytrail_nats_connections", Help: "NATS subscribers."},
		func() float64 { return float64(len(p.all())) }))
	return p
}

// Serve serves the connections of l until ctx ends, and closes it.
func (p *Proxy) Serve(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer p.running.Wait()
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	p.running.Go(func() { p.recheck(ctx) })
	for {
		conn, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil: // too many open files, mostly: some may be closed in a moment
			p.Logger.WarnContext(ctx, "accept a NATS subscriber", "err", err)
			wait(ctx, 100*time.Millisecond)
		default:
			p.running.Go(func() { p.serve(ctx, conn) })
		}
	}
}

// serve serves one connection.
func (p *Proxy) serve(ctx context.Context, conn net.Conn) {
	c := &client{proxy: p, conn: conn, ip: addressOf(conn)}
	defer func() { _ = c.conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if !c.authenticate(ctx) {
		return
	}
	defer p.byOrg.Leave(c.reader.Org)
	defer p.leave(c)
	if err := c.connect(); err != nil {
		p.Logger.ErrorContext(ctx, "connect a NATS subscriber to the server", "err", err)
		c.refuse(reasonUnavailable, errUnavailable)
		return
	}
	p.Logger.InfoContext(ctx, "NATS subscriber connected", "key", c.reader.Key, "org", c.reader.Org, "ip", c.ip)
	err := c.run(ctx)
	if ended := c.reader.StillMay(); ended != nil {
		err = ended // and so the connection was closed
	}
	p.Logger.InfoContext(ctx, "NATS subscriber gone", "key", c.reader.Key, "org", c.reader.Org, "ip", c.ip, "reason", err)
}

// enter counts an authenticated client and names the limit that it breaks, if any.
func (p *Proxy) enter(c *client) (limit string) {
	if p.byOrg.Enter(c.reader.Org) > maxConnectionsPerOrg {
		p.byOrg.Leave(c.reader.Org)
		return errMaxAccountConnections
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.clients) >= maxConnections {
		p.byOrg.Leave(c.reader.Org)
		return errMaxConnections
	}
	c.budget = p.budgetOf(c.reader.Org)
	p.clients[c] = struct{}{}
	return ""
}

// budgetOf is that of an organization's other clients, or a new one. More connections get it no more
// of the server.
func (p *Proxy) budgetOf(org domain.OrgID) *rate.Limiter {
	for c := range p.clients {
		if c.reader.Org == org {
			return c.budget
		}
	}
	return rate.NewLimiter(budgetPerSecond, budgetPerSecond)
}

func (p *Proxy) leave(c *client) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.clients, c)
}

func (p *Proxy) all() (all []*client) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.clients {
		all = append(all, c)
	}
	return all
}

// recheck ends the connections of keys that may read no longer, until ctx ends.
func (p *Proxy) recheck(ctx context.Context) {
	tick := time.NewTicker(recheckEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, c := range p.all() {
			if c.reader.StillMay() != nil {
				go c.end(errRevoked) // a client that takes nothing keeps the others waiting for nothing
			}
		}
	}
}

func addressOf(conn net.Conn) netip.Addr {
	a, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return netip.Addr{} // a connection that is not TCP
	}
	return a.Addr().Unmap()
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
