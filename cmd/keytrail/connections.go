package main

import (
	"cmp"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keytrail/keytrail/internal/inflight"
)

// connectionLimits bound the open connections.
type connectionLimits struct{ all, perAddress int }

// connections counts open connections and closes those beyond the limits, so that neither
// idle clients nor slow ones take the files that the ledger and the read model need.
type connections struct {
	connectionLimits
	proxies   []netip.Prefix // of which one address stands for many clients
	open      atomic.Int64
	byAddress *inflight.Counts[netip.Addr]
	refused   *prometheus.CounterVec
}

func newConnections(l connectionLimits, proxies []netip.Prefix, metrics prometheus.Registerer) *connections {
	if files := maxFiles() / 2; files > 0 {
		l.all = min(l.all, files)
	}
	l.perAddress = cmp.Or(l.perAddress, max(1, l.all/2))
	c := &connections{connectionLimits: l, proxies: proxies, byAddress: inflight.New[netip.Addr](),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "keytrail_http_connections_refused_total", Help: "Connections closed because a limit was reached, by limit."}, []string{"limit"})}
	c.refused.WithLabelValues("connections")
	c.refused.WithLabelValues("connections_per_address")
	metrics.MustRegister(c.refused, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "keytrail_http_connections", Help: "Open connections."},
		func() float64 { return float64(c.open.Load()) }))
	return c
}

// change is the HTTP server's ConnState hook: it counts each connection once, and closes one
// that is beyond a limit.
func (c *connections) change(conn net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		if limit := c.enter(conn); limit != "" {
			c.refused.WithLabelValues(limit).Inc()
			_ = conn.Close() // the server finds it closed, and says so here
		}
	case http.StateClosed, http.StateHijacked:
		c.open.Add(-1)
		c.byAddress.Leave(inflight.Holder(addressOf(conn)))
	}
}

// enter counts a connection and names the limit that it breaks, if any.
func (c *connections) enter(conn net.Conn) (limit string) {
	all, address := c.open.Add(1), addressOf(conn)
	held := c.byAddress.Enter(inflight.Holder(address))
	switch {
	case held > c.perAddress && !slices.ContainsFunc(c.proxies, func(p netip.Prefix) bool { return p.Contains(address) }):
		return "connections_per_address"
	case all > int64(c.all):
		return "connections"
	}
	return ""
}

// A countedListener counts the connections of a server that has no such hook.
type countedListener struct {
	net.Listener
	*connections
}

func (l countedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.change(conn, http.StateNew)
	return countedConn{conn, sync.OnceFunc(func() { l.change(conn, http.StateClosed) })}, nil
}

type countedConn struct {
	net.Conn
	leave func()
}

func (c countedConn) Close() error {
	c.leave()
	return c.Conn.Close()
}

func addressOf(conn net.Conn) netip.Addr {
	a, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return netip.Addr{} // a connection that is not TCP
	}
	return a.Addr().Unmap()
}
