package main

import (
	"context"
	"net"
	"net/http"

	"google.golang.org/grpc/credentials"

	"github.com/keytrail/keytrail/extauthz"
)

// listenExtAuthz opens the port of Envoy's external authorization, if there is one. What
// connects before the service is ready waits to be served.
func (s *service) listenExtAuthz() (err error) {
	if s.ExtAuthzListen == "" {
		return nil
	}
	if s.extAuthz, err = net.Listen("tcp", s.ExtAuthzListen); err != nil {
		return err
	}
	s.onStop(func() error { _ = s.extAuthz.Close(); return nil }) // served, it is closed by its server
	return nil
}

// serveExtAuthz has handler answer there, until the calls in flight are answered when the
// service stops.
func (s *service) serveExtAuthz(handler http.Handler) {
	if s.extAuthz == nil {
		return
	}
	var secure credentials.TransportCredentials
	if s.tls != nil {
		secure = credentials.NewTLS(s.tls)
	}
	server := extauthz.New(handler, secure)
	s.run(func(context.Context) error { return server.Serve(countedListener{s.extAuthz, s.connections}) })
	s.onStop(func() error {
		within(stopTimeout, func(ctx context.Context) error {
			defer context.AfterFunc(ctx, server.Stop)() // cuts off what takes too long
			server.GracefulStop()
			return nil
		})
		return nil
	})
	s.log.Info("serving Envoy's external authorization", "address", s.extAuthz.Addr())
}
