// Package extauthz is Envoy's external authorization over gRPC: the service
// envoy.service.auth.v3.Authorization, and that of gRPC health checks.
//
// It decides nothing. Each call is translated into the request of forward authentication that
// other gateways make over HTTP, is answered by the same handler, and the answer is translated
// back. So one decision, with its admission control, its replies and its metrics, serves both.
package extauthz

import (
	"context"
	"net/http"
	"net/url"
	"time"

	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

// Bounds of a connection and of a call on it.
const (
	maxMessage    = 128 << 10        // Envoy takes heads of 60 KiB unless it is told otherwise; no body is needed
	maxMetadata   = 16 << 10         // of gRPC itself, without Envoy's client's headers
	maxStreams    = 256              // calls at once on one connection, 32 MiB of messages; Envoy makes further connections
	handshakeTime = 10 * time.Second // of TLS and HTTP/2
)

// New is a server that has each call answered by handler, which is the API. Over TLS if there
// are credentials, which may be nil.
func New(handler http.Handler, tls credentials.TransportCredentials) *grpc.Server {
	options := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage), grpc.MaxHeaderListSize(maxMetadata), grpc.MaxConcurrentStreams(maxStreams),
		grpc.ConnectionTimeout(handshakeTime), grpc.WaitForHandlers(true),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle: 5 * time.Minute,
			// A call whose message never comes has no other end, and a new node gets its part of the calls.
			MaxConnectionAge: 30 * time.Minute, MaxConnectionAgeGrace: 20 * time.Second,
			Time: time.Minute, Timeout: 10 * time.Second, // finds peers that are gone
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		grpc.UnaryInterceptor(recovered),
	}
	if tls != nil {
		options = append(options, grpc.Creds(tls))
	}
	s := grpc.NewServer(options...)
	auth.RegisterAuthorizationServer(s, &authorization{handler: handler})
	grpc_health_v1.RegisterHealthServer(s, &health{handler: handler})
	return s
}

// recovered ends a call, and not the process, where a handler breaks off an HTTP connection by
// a panic. Other panics the API has recovered and logged.
func recovered(ctx context.Context, request any, _ *grpc.UnaryServerInfo, call grpc.UnaryHandler) (answer any, err error) {
	defer func() {
		if recover() != nil {
			err = status.Error(codes.Internal, "internal")
		}
	}()
	return call(ctx, request)
}

// authorization is envoy.service.auth.v3.Authorization.
type authorization struct {
	auth.UnimplementedAuthorizationServer
	handler http.Handler
}

// Check asks whether a request of Envoy's client may pass. A refusal of any kind is a denial
// with a response for that client: an error of gRPC would let the request pass where Envoy is
// told to do so with failure_mode_allow.
func (a *authorization) Check(ctx context.Context, in *auth.CheckRequest) (*auth.CheckResponse, error) {
	question, forged := newQuestion(ctx, in.GetAttributes())
	var r response
	a.handler.ServeHTTP(&r, question)
	if r.status == http.StatusOK {
		return r.allow(forged), nil
	}
	return r.deny(), nil
}

// health is grpc.health.v1.Health: serving means that the API is ready.
type health struct {
	grpc_health_v1.UnimplementedHealthServer
	handler http.Handler
}

func (h *health) Check(ctx context.Context, _ *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	var r response
	h.handler.ServeHTTP(&r, newRequest(ctx, &url.URL{Path: "/readyz"}))
	if r.status == http.StatusOK {
		return &grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_SERVING}, nil
	}
	return &grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_NOT_SERVING}, nil
}
