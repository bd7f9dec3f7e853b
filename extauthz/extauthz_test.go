package extauthz_test

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/keytrail/keytrail/extauthz"
)

// serve has handler answer calls over loopback.
func serve(t testing.TB, handler http.HandlerFunc) *grpc.ClientConn {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := extauthz.New(handler, nil)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		server.GracefulStop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return conn
}

// asked is the request that a call becomes.
func asked(t *testing.T, a *auth.AttributeContext) (r *http.Request, answer *auth.CheckResponse) {
	t.Helper()
	conn := serve(t, func(w http.ResponseWriter, got *http.Request) {
		r = got
		w.Header().Set("X-Keytrail-Key-Id", "key_1")
		w.WriteHeader(200)
	})
	answer, err := auth.NewAuthorizationClient(conn).Check(t.Context(), &auth.CheckRequest{Attributes: a})
	if err != nil {
		t.Fatal(err)
	}
	return r, answer
}

func httpRequest(h *auth.AttributeContext_HttpRequest) *auth.AttributeContext_Request {
	return &auth.AttributeContext_Request{Http: h}
}

func address(ip string) *auth.AttributeContext_Peer {
	return &auth.AttributeContext_Peer{Address: &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{Address: ip}}}}
}

// What the key must have is Envoy's to say; what the client wants is in headers of its own.
func TestACallIsTheRequestOfForwardAuthentication(t *testing.T) {
	metadata, _ := structpb.NewStruct(map[string]any{"org_id": "org_1", "cost": 3})
	r, _ := asked(t, &auth.AttributeContext{
		Source:            address("203.0.113.7"),
		ContextExtensions: map[string]string{"keyspace": "acme", "scope": "a:read  b:read"},
		MetadataContext:   &core.Metadata{FilterMetadata: map[string]*structpb.Struct{"keytrail": metadata, "other": metadata}},
		Request: httpRequest(&auth.AttributeContext_HttpRequest{Method: "POST", Path: "/v1/x//y?page=2", Host: "api.example.com",
			Headers: map[string]string{":path": "/v1/x//y?page=2", ":method": "POST", "authorization": "Bearer s", "x-forwarded-for": "192.0.2.1", "x-forwarded-uri": "/other",
				"x-forwarded-method": "PUT", "x-original-url": "/other", "x-request-id": "r1", "content-length": "9"}}),
	})
	if r.Method != "GET" || r.URL.EscapedPath() != "/v1/authorize/acme" || r.Host != "api.example.com" || !strings.HasPrefix(r.RemoteAddr, "127.0.0.1:") {
		t.Errorf("%s %s from %s for %s", r.Method, r.URL, r.RemoteAddr, r.Host)
	}
	if q := r.URL.Query(); fmt.Sprint(q) != "map[cost:[3] org_id:[org_1] scope:[a:read b:read]]" {
		t.Error(q)
	}
	want := http.Header{"Authorization": {"Bearer s"}, "X-Forwarded-For": {"192.0.2.1", "203.0.113.7"}, "X-Forwarded-Uri": {"/v1/x//y?page=2"},
		"X-Forwarded-Method": {"POST"}, "X-Request-Id": {"r1"}, "Content-Length": {"9"}}
	if !maps.EqualFunc(r.Header, want, slices.Equal) {
		t.Error(r.Header)
	}
}

// Nothing that a client sends is taken for its gateway's word, and none of it reaches the backend.
func TestForgedHeadersAreDroppedAndRemoved(t *testing.T) {
	forged := []string{"x-keytrail-owner", "X-Keytrail-Scope", "x_keytrail_owner", "x-keytrail_owner", "x-keytrail-anything"}
	for _, raw := range []bool{false, true} {
		client := &auth.AttributeContext_HttpRequest{Headers: map[string]string{}}
		for _, name := range append(forged, "x-keytrail-key-id", "x-api-key") {
			if raw {
				client.HeaderMap = &core.HeaderMap{Headers: append(client.HeaderMap.GetHeaders(), &core.HeaderValue{Key: name, RawValue: []byte("forged")})}
			} else {
				client.Headers[name] = "forged"
			}
		}
		r, answer := asked(t, &auth.AttributeContext{Request: httpRequest(client), ContextExtensions: map[string]string{"keyspace": "default"}})
		delete(r.Header, "X-Forwarded-Method")
		delete(r.Header, "X-Forwarded-Uri")
		if len(r.Header) != 1 || r.Header.Get("X-Api-Key") != "forged" {
			t.Error(r.Header)
		}
		removed := answer.GetOkResponse().GetHeadersToRemove()
		slices.Sort(removed)
		if want := []string{"x-keytrail-anything", "x-keytrail-owner", "x-keytrail-scope", "x-keytrail_owner", "x_keytrail_owner"}; !slices.Equal(removed, want) {
			t.Errorf("removed are %q", removed)
		}
	}
}

// Two headers stay two where Envoy sends them raw, so that an ambiguous request is seen as one.
func TestRawHeadersStaySeveral(t *testing.T) {
	r, _ := asked(t, &auth.AttributeContext{Request: httpRequest(&auth.AttributeContext_HttpRequest{HeaderMap: &core.HeaderMap{Headers: []*core.HeaderValue{
		{Key: "authorization", RawValue: []byte("Bearer a")}, {Key: "authorization", RawValue: []byte("Bearer b")}, {Key: "x-bytes", RawValue: []byte{0xff, 0}}}}})})
	if got := r.Header["Authorization"]; len(got) != 2 || r.Header.Get("X-Bytes") != "\xff\x00" {
		t.Error(r.Header)
	}
}

// Without the address that has connected, what a client says of its own is not believed.
func TestAnAddressIsEnvoysToSay(t *testing.T) {
	for _, source := range []*auth.AttributeContext_Peer{nil, {}, {Address: &core.Address{Address: &core.Address_Pipe{Pipe: &core.Pipe{Path: "/x"}}}}} {
		r, _ := asked(t, &auth.AttributeContext{Source: source, Request: httpRequest(&auth.AttributeContext_HttpRequest{Headers: map[string]string{"x-forwarded-for": "192.0.2.1"}})})
		if got := r.Header["X-Forwarded-For"]; got != nil {
			t.Errorf("%v: %q", source, got)
		}
	}
}

// A keyspace is one segment of a path, whatever its name.
func TestAKeyspaceIsOneSegment(t *testing.T) {
	for name, path := range map[string]string{"": "/v1/authorize/", "a/../../keys": "/v1/authorize/a%2F..%2F..%2Fkeys", "a?scope=x": "/v1/authorize/a%3Fscope=x", "%2e": "/v1/authorize/%252e"} {
		if r, _ := asked(t, &auth.AttributeContext{ContextExtensions: map[string]string{"keyspace": name}}); r.URL.EscapedPath() != path || r.URL.RawQuery != "" {
			t.Errorf("%q is %s", name, r.URL)
		}
	}
}

func TestAnAllowedRequestSaysWhoseItIs(t *testing.T) {
	conn := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		for name, value := range map[string]string{"X-Keytrail-Key-Id": "key_1", "X-Keytrail-Owner": "a%20b", "X-Keytrail-Scopes": "a:read b:read", "X-Keytrail-Name": "",
			"X-Keytrail-Metadata": `{"plan":"pro"}`, "X-Ratelimit-Limit": "100", "Ratelimit-Policy": `"a";q=1`, "X-Request-Id": "r1", "Date": "today"} {
			w.Header().Set(name, value)
		}
		w.WriteHeader(200)
	})
	answer, err := auth.NewAuthorizationClient(conn).Check(t.Context(), &auth.CheckRequest{})
	if err != nil || answer.GetStatus().GetCode() != 0 {
		t.Fatal(answer, err)
	}
	ok := answer.GetOkResponse()
	if got := headers(t, ok.GetHeaders()); fmt.Sprint(got) != `map[x-keytrail-key-id:key_1 x-keytrail-metadata:{"plan":"pro"} x-keytrail-name: x-keytrail-owner:a%20b x-keytrail-scopes:a:read b:read]` {
		t.Error(got)
	}
	if got := headers(t, ok.GetResponseHeadersToAdd()); fmt.Sprint(got) != `map[ratelimit-policy:"a";q=1 x-ratelimit-limit:100]` {
		t.Error(got)
	}
	want := map[string]any{"key_id": "key_1", "owner": "a b", "scopes": []any{"a:read", "b:read"}, "name": "", "metadata": map[string]any{"plan": "pro"}}
	if got := answer.GetDynamicMetadata().AsMap(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Error(got)
	}
}

// headers are as Envoy would set them; none may be added to one that a client has sent.
func headers(t *testing.T, all []*core.HeaderValueOption) map[string]string {
	got := map[string]string{}
	for _, h := range all {
		if h.GetAppendAction() != core.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD {
			t.Errorf("%s is appended", h)
		}
		got[h.GetHeader().GetKey()] = h.GetHeader().GetValue()
	}
	return got
}

// A refusal reaches the client as it is, whatever its status; what is no answer is refused, too.
func TestARefusalIsADenialWithItsResponse(t *testing.T) {
	for code, want := range map[int]codes.Code{400: codes.InvalidArgument, 401: codes.Unauthenticated, 403: codes.PermissionDenied, 404: codes.NotFound, 418: codes.PermissionDenied,
		429: codes.ResourceExhausted, 500: codes.Internal, 503: codes.Unavailable, 204: codes.PermissionDenied, 0: codes.PermissionDenied} {
		conn := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			if code == 0 {
				return
			}
			w.Header().Set("Retry-After", "7")
			w.Header().Add("Www-Authenticate", "Bearer")
			w.Header().Add("Www-Authenticate", "Basic")
			w.WriteHeader(code)
			w.WriteHeader(200) // is too late
			fmt.Fprint(w, `{"message": "no"}`)
		})
		answer, err := auth.NewAuthorizationClient(conn).Check(t.Context(), &auth.CheckRequest{})
		denied := answer.GetDeniedResponse()
		if err != nil || codes.Code(answer.GetStatus().GetCode()) != want || denied == nil || int(denied.GetStatus().GetCode()) != code {
			t.Errorf("%d: %v %v", code, answer, err)
		}
		if got := headers(t, denied.GetHeaders()); code != 0 && (denied.GetBody() != `{"message": "no"}` || fmt.Sprint(got) != "map[retry-after:7 www-authenticate:Bearer, Basic]") {
			t.Errorf("%d: %q %q", code, denied.GetBody(), got)
		}
	}
}

func TestHostileCallsEndAlone(t *testing.T) {
	conn := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Host == "panic" {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(403)
	})
	client := auth.NewAuthorizationClient(conn)
	for name, c := range map[string]struct {
		call *auth.CheckRequest
		want codes.Code
	}{
		"nothing":     {&auth.CheckRequest{}, codes.OK},
		"no http":     {&auth.CheckRequest{Attributes: &auth.AttributeContext{Request: &auth.AttributeContext_Request{}}}, codes.OK},
		"a huge head": {&auth.CheckRequest{Attributes: &auth.AttributeContext{Request: httpRequest(&auth.AttributeContext_HttpRequest{Headers: map[string]string{"x": strings.Repeat("x", 200<<10)}})}}, codes.ResourceExhausted},
		"junk": {&auth.CheckRequest{Attributes: &auth.AttributeContext{Request: httpRequest(&auth.AttributeContext_HttpRequest{Method: "\x00 ", Path: "%zz\r\n", Headers: map[string]string{"": "", "\r\n": "\r\n"},
			HeaderMap: &core.HeaderMap{Headers: []*core.HeaderValue{{}}}})}}, codes.OK},
		"a panic": {&auth.CheckRequest{Attributes: &auth.AttributeContext{Request: httpRequest(&auth.AttributeContext_HttpRequest{Host: "panic"})}}, codes.Internal},
	} {
		if _, err := client.Check(t.Context(), c.call); status.Code(err) != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := conn.Invoke(t.Context(), "/envoy.service.auth.v3.Authorization/Other", &auth.CheckRequest{}, &auth.CheckResponse{}); status.Code(err) != codes.Unimplemented {
		t.Error(err)
	}
	if _, err := client.Check(t.Context(), &auth.CheckRequest{}); err != nil {
		t.Error(err)
	}
}

// A call's deadline and its client's going away reach the handler.
func TestACallEndsWithItsClient(t *testing.T) {
	begun, ended := make(chan bool), make(chan error, 1)
	conn := serve(t, func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		<-r.Context().Done()
		ended <- r.Context().Err()
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-begun; cancel() }()
	if _, err := auth.NewAuthorizationClient(conn).Check(ctx, &auth.CheckRequest{}); status.Code(err) != codes.Canceled {
		t.Error(err)
	}
	if err := <-ended; err != context.Canceled {
		t.Error(err)
	}
}

func TestHealthIsReadiness(t *testing.T) {
	ready := make(chan int, 1)
	conn := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" {
			t.Error(r.URL)
		}
		w.WriteHeader(<-ready)
	})
	for code, want := range map[int]grpc_health_v1.HealthCheckResponse_ServingStatus{200: grpc_health_v1.HealthCheckResponse_SERVING, 503: grpc_health_v1.HealthCheckResponse_NOT_SERVING} {
		ready <- code
		if got, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); err != nil || got.GetStatus() != want {
			t.Errorf("%d: %v %v", code, got, err)
		}
	}
}

// Calls at the same time get each its own answer.
func TestCallsShareNothing(t *testing.T) {
	conn := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Keytrail-Key-Id", r.Host)
		w.WriteHeader(200)
	})
	client := auth.NewAuthorizationClient(conn)
	var all sync.WaitGroup
	for i := range 64 {
		all.Go(func() {
			host := fmt.Sprint(i)
			answer, err := client.Check(t.Context(), &auth.CheckRequest{Attributes: &auth.AttributeContext{Request: httpRequest(&auth.AttributeContext_HttpRequest{Host: host})}})
			if err != nil || answer.GetDynamicMetadata().GetFields()["key_id"].GetStringValue() != host {
				t.Error(host, answer, err)
			}
		})
	}
	all.Wait()
}
