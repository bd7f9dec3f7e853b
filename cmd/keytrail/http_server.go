package main

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/keytrail/keytrail/api"
)

// An httpServer listens before there is anything to answer from, so that a start that takes
// long is not taken for a hang.
type httpServer struct {
	http.Server
	listener net.Listener
	url      string
	handler  atomic.Pointer[http.Handler]
	ended    chan error // receives what Serve returned
	log      *slog.Logger
}

// listen serves on address: HTTPS with a configuration for TLS, plain HTTP without.
func listen(address string, secure *tls.Config, readTimeout time.Duration, connections *connections, log *slog.Logger) (*httpServer, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	s := &httpServer{listener: l, ended: make(chan error, 1), log: log}
	s.setHandler(api.Starting())
	s.Server = http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*s.handler.Load()).ServeHTTP(w, r) }),
		// One deadline for head and body: a second one would have to be set for every request.
		// The API sets that of writing when an answer begins, so that what takes long is not
		// cut off, and a client that takes nothing is.
		ReadTimeout: readTimeout, IdleTimeout: 2 * time.Minute, ConnState: connections.change,
		// With HTTP/2 one connection would carry many requests, past the limits of connections.
		TLSConfig: secure, Protocols: new(http.Protocols),
		MaxHeaderBytes: 32 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	s.Protocols.SetHTTP1(true)
	s.url = "http://" + l.Addr().String()
	serve := func() error { return s.Serve(l) }
	if secure != nil {
		s.url = "https://" + l.Addr().String()
		serve = func() error { return s.ServeTLS(l, "", "") }
	}
	go func() { s.ended <- serve() }()
	return s, nil
}

// setHandler lets h answer from now on.
func (s *httpServer) setHandler(h http.Handler) { s.handler.Store(&h) }

// run returns when ctx ends, or when background does because a task failed, after what is in
// flight is answered.
func (s *httpServer) run(ctx, background context.Context) error {
	select {
	case <-ctx.Done():
	case <-background.Done():
	case err := <-s.ended:
		return err
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err := s.Shutdown(grace); err != nil {
		s.log.Warn("requests that took too long were cut off")
		return s.Close()
	}
	if ctx.Err() != nil {
		return nil
	}
	return context.Cause(background)
}
