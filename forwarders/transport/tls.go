package transport

import (
	"context"
	"crypto/tls"
	"net"

	"github.com/keytrail/keytrail/forwarders/outbound"
)

// A tlsDialer connects over TLS. The certificate must be for the host that is dialled.
type tlsDialer struct {
	*outbound.Dialer
	config *tls.Config
}

func (d tlsDialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	conn, err := d.Dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	config := d.config.Clone()
	config.ServerName = host
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, outbound.Explain(address, err)
	}
	return secure, nil
}
