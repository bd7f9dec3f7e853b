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

// A front is the HTTP server. It listens before there is anything to answer from, so that
// a start that takes long is not taken for a hang.
type front struct {
	http.Server
	listener net.Listener
	url      string
	handler  atomic.Pointer[http.Handler]
	ended    chan error // receives what Serve returned
	log      *slog.Logger
}

// listen serves on address: HTTPS with a configuration for TLS, plain HTTP without.
func listen(address string, secure *tls.Config, readTimeout time.Duration, connections *connections, log *slog.Logger) (*front, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	f := &front{listener: l, ended: make(chan error, 1), log: log}
	f.open(api.Starting())
	f.Server = http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*f.handler.Load()).ServeHTTP(w, r) }),
		// One deadline for head and body: a second one would have to be set for every request.
		// The API sets that of writing when an answer begins, so that what takes long is not
		// cut off, and a client that takes nothing is.
		ReadTimeout: readTimeout, IdleTimeout: 2 * time.Minute, ConnState: connections.change,
		// With HTTP/2 one connection would carry many requests, past the limits of connections.
		TLSConfig: secure, Protocols: new(http.Protocols),
		MaxHeaderBytes: 32 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	f.Protocols.SetHTTP1(true)
	f.url = "http://" + l.Addr().String()
	serve := func() error { return f.Serve(l) }
	if secure != nil {
		f.url = "https://" + l.Addr().String()
		serve = func() error { return f.ServeTLS(l, "", "") }
	}
	go func() { f.ended <- serve() }()
	return f, nil
}

// open lets h answer from now on.
func (f *front) open(h http.Handler) { f.handler.Store(&h) }

// stay returns when ctx ends or something failed, after what is in flight is answered.
func (f *front) stay(ctx, background context.Context) error {
	select {
	case <-ctx.Done():
	case <-background.Done():
	case err := <-f.ended:
		return err
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err := f.Shutdown(grace); err != nil {
		f.log.Warn("requests that took too long were cut off")
		return f.Close()
	}
	if ctx.Err() != nil {
		return nil
	}
	return context.Cause(background)
}
