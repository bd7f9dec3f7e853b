package outbound

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// Bounds of a connection. A receiver across the world answers within a second; what takes ten times
// that is down, and there is a retry.
const (
	dialTimeout = 10 * time.Second
	tlsTimeout  = 10 * time.Second
	// keepAlive finds a receiver that vanished within about a minute: a probe after 30 s without
	// traffic, then each 10 s, three of them.
	keepAliveIdle     = 30 * time.Second
	keepAliveInterval = 10 * time.Second
	keepAliveProbes   = 3
)

// ErrNotAllowed is of an address that the policy denies.
var ErrNotAllowed = errors.New("not allowed")

// A Dialer connects to what its policy allows. Its errors name the host that was asked for, and no
// address: which addresses a name has inside the operator's network is not the user's to know.
type Dialer struct {
	net net.Dialer
}

// Dialer is for connections that are then secured by TLS.
func (p Policy) Dialer() *Dialer { return p.dialer(p.objection) }

// PlainDialer is for connections in plain text: they go only to p's networks, whose operator vouches
// for the way there.
func (p Policy) PlainDialer() *Dialer {
	return p.dialer(func(a netip.Addr) string {
		if why := p.objection(a); why != "" || p.named(a) {
			return why
		}
		return "plain text outside of " + p.setting()
	})
}

func (p Policy) dialer(objection func(netip.Addr) string) *Dialer {
	return &Dialer{net.Dialer{
		Timeout:         dialTimeout,
		Resolver:        p.Resolver,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: keepAliveIdle, Interval: keepAliveInterval, Count: keepAliveProbes},
		// Control is called with the address that the socket is about to connect to.
		Control: func(_, address string, _ syscall.RawConn) error {
			to, err := netip.ParseAddrPort(address)
			if err != nil {
				return fmt.Errorf("%w: no address", ErrNotAllowed)
			}
			if why := objection(to.Addr()); why != "" {
				return fmt.Errorf("%w: %s", ErrNotAllowed, why)
			}
			return nil
		},
	}}
}

// DialContext connects to the TCP address host:port.
func (d *Dialer) DialContext(ctx context.Context, _, address string) (net.Conn, error) {
	c, err := d.net.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, Explain(address, err)
	}
	return c, nil
}

// Dial is DialContext for libraries without contexts; it ends after dialTimeout.
func (d *Dialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}
