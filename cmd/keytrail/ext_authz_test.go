package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

var extAuthzLine = regexp.MustCompile(`external authorization" address=(\S+)`)

// envoy is a connection to the service as Envoy makes it.
func (r *running) envoy(t *testing.T, secure credentials.TransportCredentials) *grpc.ClientConn {
	t.Helper()
	line := extAuthzLine.FindStringSubmatch(r.said.String())
	if line == nil {
		t.Fatalf("no address of external authorization: %s", r.said)
	}
	conn, err := grpc.NewClient(line[1], grpc.WithTransportCredentials(secure))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// check asks whether a client with that secret may pass, and is the status that it is answered.
func check(ctx context.Context, conn *grpc.ClientConn, secret string) (int, error) {
	answer, err := auth.NewAuthorizationClient(conn).Check(ctx, &auth.CheckRequest{Attributes: &auth.AttributeContext{
		Source:            &auth.AttributeContext_Peer{Address: &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{Address: "203.0.113.7"}}}},
		ContextExtensions: map[string]string{"keyspace": "default"},
		Request:           &auth.AttributeContext_Request{Http: &auth.AttributeContext_HttpRequest{Method: "GET", Path: "/x", Headers: map[string]string{"authorization": "Bearer " + secret}}}}})
	if answer.GetOkResponse() != nil && answer.GetStatus().GetCode() == 0 {
		return 200, err
	}
	return int(answer.GetDeniedResponse().GetStatus().GetCode()), err
}

// Envoy is served as HTTP is: over TLS with the same certificate.
func TestEnvoyIsServedOverTLS(t *testing.T) {
	t.Parallel() // it waits more than it computes
	a := newAuthority(t)
	cert, key := a.issue(t, 2)
	r := launch(t, t.TempDir(), "--tls-cert", cert, "--tls-key", key, "--ext-authz-listen", "127.0.0.1:0")
	if _, err := check(t.Context(), r.envoy(t, insecure.NewCredentials()), "x"); status.Code(err) != codes.Unavailable {
		t.Errorf("without TLS: %v", err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	conn := r.envoy(t, credentials.NewTLS(&tls.Config{RootCAs: pool}))
	if code, err := check(t.Context(), conn, "kt_live_none"); code != 401 || err != nil {
		t.Errorf("an unknown key: %d %v", code, err)
	}
	if got, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); err != nil || got.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("%v %v", got, err)
	}
}

// A call that was begun is answered when the service stops, and none is refused for that reason:
// Envoy is told to connect elsewhere.
func TestStoppingAnswersEnvoysCalls(t *testing.T) {
	r := launch(t, t.TempDir(), "--ext-authz-listen", "127.0.0.1:0")
	secret := r.newKey(t, r.newOrg(t)).Secret
	var allowed atomic.Int64
	enough := make(chan struct{})
	var once sync.Once
	var workers sync.WaitGroup
	for range 8 {
		conn := r.envoy(t, insecure.NewCredentials())
		workers.Go(func() {
			for {
				code, err := check(t.Context(), conn, secret)
				if status.Code(err) == codes.Unavailable && strings.Contains(err.Error(), "connection refused") {
					return // it is not even begun
				}
				if code != 200 || err != nil {
					t.Errorf("%d %v", code, err)
					return
				}
				if allowed.Add(1) > 200 {
					once.Do(func() { close(enough) })
				}
			}
		})
	}
	<-enough
	if code := r.end(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d: %s", code, r.said)
	}
	workers.Wait()
}

// Envoy's connections count among all, and beyond the limit they are closed.
func TestCountedListenersHaveTheLimitOfConnections(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	counted := countedListener{l, newConnections(connectionLimits{all: 1, perAddress: 9}, nil, prometheus.NewRegistry())}
	accept := func(open int64) (there, here net.Conn) {
		t.Helper()
		there, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = there.Close() })
		if here, err = counted.Accept(); err != nil || counted.open.Load() != open {
			t.Fatalf("%d open, %v", counted.open.Load(), err)
		}
		return there, here
	}
	_, first := accept(1)
	there, here := accept(2)
	if _, err := there.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the second one is open: %v", err)
	}
	for range 2 { // it counts once, however often it is closed
		_ = here.Close()
		_ = first.Close()
	}
	if n := counted.open.Load(); n != 0 {
		t.Errorf("%d are open", n)
	}
	accept(1)
}
