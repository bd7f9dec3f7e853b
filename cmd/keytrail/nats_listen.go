package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/natsproxy"
	"github.com/keytrail/keytrail/verify"
)

// natsTLSConfig refuses to let subscribers in where they would reach nothing, or send keys in plain
// text over a network: --plain-http says nothing of a proxy before this port.
func (c *Config) natsTLSConfig(ofHTTP *tls.Config, log *slog.Logger) (*tls.Config, error) {
	switch {
	case (c.NATSListenCert == "") != (c.NATSListenKey == ""):
		return nil, errors.New("--nats-listen-cert and --nats-listen-key go together")
	case c.NATSListen == "":
		return nil, nil
	case c.NATS.URL != "":
		return nil, errors.New("--nats-listen opens the embedded NATS server, and with --nats-url there is none: subscribers connect to that server")
	case c.NATSListenCert != "":
		return serverTLS(c.NATSListenCert, c.NATSListenKey, log)
	case ofHTTP == nil && public(c.NATSListen):
		return nil, fmt.Errorf("--nats-listen %q would let others connect without TLS, and keys travel in it: set --nats-listen-cert and --nats-listen-key, or --tls-cert and --tls-key", c.NATSListen)
	}
	return ofHTTP, nil
}

// auditScope is what a subscriber's key must have.
const auditScope = "audit:read"

// listenNATS opens the port of NATS subscribers, if there is one. What connects before the service
// is ready waits to be served.
func (s *service) listenNATS() (err error) {
	if s.NATSListen == "" {
		return nil
	}
	if s.subscribers, err = net.Listen("tcp", s.NATSListen); err != nil {
		return err
	}
	s.onStop(func() error { _ = s.subscribers.Close(); return nil }) // served, it is closed by the proxy
	return nil
}

// serveNATS lets subscribers read streams of the embedded server.
func (s *service) serveNATS(v *verify.Verifier) {
	if s.subscribers == nil {
		return
	}
	p := natsproxy.New(natsproxy.Options{TLS: s.natsTLS, Dial: s.nats.Pipe, Logger: s.log, Metrics: s.metrics,
		Authenticate: func(ctx context.Context, secret string, ip netip.Addr) (natsproxy.Reader, error) {
			return s.subscriber(ctx, v, secret, ip)
		}})
	s.run(func(ctx context.Context) error { return p.Serve(ctx, countedListener{s.subscribers, s.connections}) })
	s.log.Info("serving NATS subscribers", "address", s.subscribers.Addr())
}

// subscriber finds who a NATS subscriber is by its management key, records the key's use and that
// it reads the trail, and makes its consumers.
func (s *service) subscriber(ctx context.Context, v *verify.Verifier, secret string, ip netip.Addr) (r natsproxy.Reader, err error) {
	request := verify.AuthRequest{Secret: secret, Scope: auditScope, IP: ip, RequestID: "nats-" + rand.Text()}
	caller, err := v.Authenticate(ctx, request)
	if err != nil {
		s.commands.RecordRefusal(caller.Principal, "NATS", auditScope, err)
		return r, err
	}
	reading := commands.ReadTrail{Request: commands.Request{By: caller.Principal, Correlation: request.RequestID}, Access: domain.AccessFeed}
	if err := s.commands.ReadTrail(ctx, reading); err != nil {
		return r, err
	}
	reading.Continued = true
	key := domain.KeyID(caller.ID)
	if caller.Org == domain.Installation {
		if err := s.ledger.KeepSubscriber(ctx, key); err != nil {
			return r, err
		}
	}
	return natsproxy.Reader{Key: caller.ID, Org: caller.Org,
		Reads: func(stream, consumer string) bool {
			return eventstore.SubscriberReads(caller.Org, key, stream, consumer)
		},
		StillMay: func() error { return v.StillMay(request) },
		Reading:  func(ctx context.Context) error { return s.commands.ReadTrail(ctx, reading) },
	}, nil
}
