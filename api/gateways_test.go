package api_test

import (
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"go.yaml.in/yaml/v4"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/keytrail/keytrail/api"
	"github.com/keytrail/keytrail/extauthz"
	"github.com/keytrail/keytrail/verify"
)

// The gateways that cannot be installed here ask in these tests as they are configured in
// examples/gateways, with requests written after their sources. A clientRequest is what they ask
// about, and a gatewayAnswer what becomes of it: a request for the backend, or a refusal.
type clientRequest struct {
	method, path string
	headers      []string // Name: value
}

type gatewayAnswer struct {
	status  int         // 200: the request passes
	backend http.Header // that say whose it is
	client  http.Header // of the refusal, or added to the backend's answer
	body    string
}

func (c clientRequest) header() http.Header {
	h := http.Header{}
	for _, line := range c.headers {
		name, value, _ := strings.Cut(line, ": ")
		h.Add(name, value)
	}
	return h
}

// config is what an example says at the path of one of its members.
func config(t *testing.T, file string, path ...any) any {
	t.Helper()
	text, err := os.ReadFile("../examples/gateways/" + file)
	if err != nil {
		t.Fatal(err)
	}
	var value any
	if err := yaml.Unmarshal(text, &value); err != nil {
		t.Fatal(err)
	}
	for _, member := range path {
		switch member := member.(type) {
		case string:
			value = value.(map[string]any)[member]
		case int:
			value = value.([]any)[member]
		}
	}
	if value == nil {
		t.Fatalf("%s has no %v", file, path)
	}
	return value
}

// clientAddress is that of the gateways' client.
const clientAddress = "203.0.113.7"

// traefik asks as its middleware ForwardAuth does: pkg/middlewares/auth/forward.go of v3.7.13,
// with trustForwardHeader: false.
func traefik(t *testing.T, s *service) func(clientRequest) gatewayAnswer {
	middleware := config(t, "traefik/dynamic.yml", "http", "middlewares", "keytrail", "forwardAuth").(map[string]any)
	address := strings.Replace(middleware["address"].(string), "http://127.0.0.1:8080", s.url, 1)
	if middleware["trustForwardHeader"] != false || middleware["authResponseHeadersRegex"] != "^X-Keytrail-" {
		t.Fatal(middleware)
	}
	return func(c clientRequest) gatewayAnswer {
		r, _ := http.NewRequestWithContext(t.Context(), "GET", address, nil)
		for _, name := range middleware["authRequestHeaders"].([]any) {
			if values := c.header().Values(name.(string)); len(values) > 0 {
				r.Header[http.CanonicalHeaderKey(name.(string))] = values
			}
		}
		for name, value := range map[string]string{"User-Agent": "", "X-Forwarded-For": clientAddress, "X-Forwarded-Method": c.method, "X-Forwarded-Proto": "http",
			"X-Forwarded-Port": "80", "X-Forwarded-Host": "api.example", "X-Forwarded-Uri": c.path} {
			r.Header.Set(name, value)
		}
		a, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Body.Close()
		body, _ := io.ReadAll(a.Body)
		return answered(a.StatusCode, a.Header, string(body))
	}
}

// envoyOverHTTP asks as Envoy's filter ext_authz does of an http_service: with the client's method,
// path and query behind path_prefix, an empty body, and of its headers those that are allowed:
// source/extensions/filters/common/ext_authz/ext_authz_http_impl.cc of v1.40.
func envoyOverHTTP(t *testing.T, s *service) func(clientRequest) gatewayAnswer {
	filters := config(t, "envoy/envoy-http.yaml", "static_resources", "listeners", 0, "filter_chains", 0, "filters", 0, "typed_config", "http_filters").([]any)
	filter := filters[1].(map[string]any)["typed_config"].(map[string]any)
	service := filter["http_service"].(map[string]any)
	added := service["authorization_request"].(map[string]any)["headers_to_add"].([]any)[0].(map[string]any)
	allowed := []string{"Authorization"}
	for _, pattern := range filter["allowed_headers"].(map[string]any)["patterns"].([]any) {
		allowed = append(allowed, pattern.(map[string]any)["exact"].(string))
	}
	return func(c clientRequest) gatewayAnswer {
		h := c.header()
		h.Set("X-Forwarded-For", strings.Join(append(h["X-Forwarded-For"], clientAddress), ",")) // by the connection manager
		lines := []string{"content-length: 0", strings.ToLower(added["key"].(string)) + ": " + added["value"].(string), "x-envoy-internal: true", "x-envoy-expected-rq-timeout-ms: 15000"}
		for _, name := range allowed {
			for _, value := range h.Values(name) {
				lines = append(lines, strings.ToLower(name)+": "+value)
			}
		}
		status, header, body := s.raw("", c.method, service["path_prefix"].(string)+c.path, lines...)
		code, _ := strconv.Atoi(status[:3])
		return answered(code, header, body)
	}
}

// answered is what Traefik, and Envoy over HTTP, make of an answer: Envoy takes exactly 200.
func answered(status int, h http.Header, body string) gatewayAnswer {
	backend := maps.Clone(h)
	maps.DeleteFunc(backend, func(name string, _ []string) bool { return !strings.HasPrefix(name, "X-Keytrail-") })
	return gatewayAnswer{status, backend, h, body}
}

// envoyOverGRPC asks as the filter does of a grpc_service, with encode_raw_headers:
// check_request_utils.cc beside the above.
func envoyOverGRPC(t *testing.T, s *service) func(clientRequest) gatewayAnswer {
	route := config(t, "envoy/envoy.yaml", "static_resources", "listeners", 0, "filter_chains", 0, "filters", 0, "typed_config", "route_config", "virtual_hosts", 0, "routes", 0).(map[string]any)
	extensions := map[string]string{}
	for name, value := range route["typed_per_filter_config"].(map[string]any)["envoy.filters.http.ext_authz"].(map[string]any)["check_settings"].(map[string]any)["context_extensions"].(map[string]any) {
		extensions[name] = value.(string)
	}
	client := auth.NewAuthorizationClient(s.extAuthz(t))
	return func(c clientRequest) gatewayAnswer {
		r := &auth.AttributeContext_HttpRequest{Id: "1", Method: c.method, Path: c.path, Host: "api.example", Scheme: "http", Protocol: "HTTP/1.1", HeaderMap: &core.HeaderMap{}}
		add := func(name, value string) {
			r.HeaderMap.Headers = append(r.HeaderMap.Headers, &core.HeaderValue{Key: strings.ToLower(name), RawValue: []byte(value)})
		}
		for name, value := range map[string]string{":method": c.method, ":path": c.path, ":authority": "api.example", ":scheme": "http", "x-request-id": "r1"} {
			add(name, value)
		}
		for name, values := range c.header() { // the client's own X-Forwarded-For, too, without use_remote_address
			for _, value := range values {
				add(name, value)
			}
		}
		source := &auth.AttributeContext_Peer{Address: &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{Address: clientAddress, PortSpecifier: &core.SocketAddress_PortValue{PortValue: 4711}}}}}
		a, err := client.Check(t.Context(), &auth.CheckRequest{Attributes: &auth.AttributeContext{Source: source, Request: &auth.AttributeContext_Request{Http: r}, ContextExtensions: extensions}})
		if err != nil {
			t.Fatal(err)
		}
		if ok := a.GetOkResponse(); ok != nil {
			return gatewayAnswer{200, headersOf(ok.GetHeaders()), headersOf(ok.GetResponseHeadersToAdd()), ""}
		}
		denied := a.GetDeniedResponse()
		return gatewayAnswer{int(denied.GetStatus().GetCode()), nil, headersOf(denied.GetHeaders()), denied.GetBody()}
	}
}

// extAuthz is a connection to the service as Envoy makes it.
func (s *service) extAuthz(t testing.TB) *grpc.ClientConn {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := extauthz.New(s.handler, nil)
	go func() { _ = server.Serve(l) }()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(); server.Stop() })
	return conn
}

func headersOf(all []*core.HeaderValueOption) http.Header {
	h := http.Header{}
	for _, o := range all {
		h.Set(o.GetHeader().GetKey(), o.GetHeader().GetValue())
	}
	return h
}

// Whichever gateway asks, a client is let pass or refused alike, and with the same words; the
// trail has what it asked for and from where; and what a client says of itself counts for nothing.
func TestAllGatewaysAnswerAlike(t *testing.T) {
	for name, gateway := range map[string]func(*testing.T, *service) func(clientRequest) gatewayAnswer{"traefik": traefik, "envoy over HTTP": envoyOverHTTP, "envoy over gRPC": envoyOverGRPC} {
		t.Run(name, func(t *testing.T) {
			s := behindProxies(t)
			org := s.org("acme")
			s.keyspace("shop", `,"gateway":{"demands":["scope"],"record_resource":true,"rate_limit_headers":["x-ratelimit","ratelimit"]},"replies":[
				{"for":["MISSING","NOT_FOUND"],"status":401,"body":"{\"message\": \"Who are you?\"}"},
				{"for":["INSUFFICIENT_SCOPE"],"status":418,"content_type":"text/plain","headers":{"X-Shop":"closed"},"body":"Not with this key.\n"},
				{"for":["RATE_LIMITED"],"status":429,"body":"{\"message\": \"Slow down.\"}"}]`)
			_, narrow := s.key("shop", org, `,"scopes":["invoices:write"]`)
			_, limited := s.key("shop", org, `,"scopes":["invoices:read"],"rate_limits":[{"limit":1,"window":"720h"}]`)
			_, elsewhere := s.key("shop", org, `,"scopes":["invoices:read"],"allowed_cidrs":["198.51.100.0/24"]`)
			ask := gateway(t, s)
			expect := func(status int, body string, headers map[string]string, c clientRequest) {
				t.Helper()
				a := ask(c)
				ok := a.status == status && strings.Contains(a.body, body)
				for name, value := range headers {
					ok = ok && strings.HasPrefix(a.client.Get(name), value) && a.client.Get(name) != ""
				}
				if !ok {
					t.Errorf("%v: %d %q %v, want %d %q %v", c, a.status, a.body, a.client, status, body, headers)
				}
			}

			for i, c := range []struct{ method, path, resource string }{
				{"GET", "/", "GET /"}, {"POST", "/orders/7?page=2&scope=none", "POST /orders/7"}, {"PURGE", "//a//../%2e%2e/%2F?x=/v1/authorize/other", "PURGE //a//../%2e%2e/%2F"},
				{"HEAD", "/v1/authorize/other?refuse=403", "HEAD /v1/authorize/other"}, {"DELETE", "/x?after=99999999&cost=0&%zz;", "DELETE /x"}, {"OPTIONS", "/é", "OPTIONS /%C3%A9"},
			} {
				if c.path == "/é" && name == "envoy over HTTP" {
					continue // Envoy would not take it
				}
				id, secret := s.key("shop", org, fmt.Sprintf(`,"owner":"%d","scopes":["invoices:read"],"allowed_cidrs":["203.0.113.0/24"],"rate_limits":[{"limit":9,"window":"720h"}]`, i))
				key := []string{"Authorization: Bearer " + secret, "X-API-Key: " + secret}[i%2]
				a := ask(clientRequest{c.method, c.path, []string{key, "X-Keytrail-Owner: forged", "X-Keytrail-Scope: none", "X-Keytrail-Cost: 9", "X-Keytrail-Resource-Org-Id: org_forged",
					"X-Forwarded-For: 6.6.6.6", "X-Forwarded-Uri: /forged", "X-Original-Url: /forged", "Content-Length: 9"}})
				want := map[string]string{"Key-Id": id, "Org-Id": org, "Owner": strconv.Itoa(i), "Scopes": "invoices:read", "Keyspace": "shop", "Environment": "", "Name": "n", "Metadata": "{}"}
				for member, value := range want {
					if got := a.backend["X-Keytrail-"+member]; len(got) != 1 || got[0] != value {
						t.Errorf("%v: %s is %q, want %q", c, member, got, value)
					}
				}
				if a.status != 200 || a.body != "" || a.client.Get("X-Ratelimit-Remaining") != "8" || a.client.Get("Ratelimit-Policy") == "" {
					t.Errorf("%v: %+v", c, a)
				}
				if got := s.resources(id); !slices.Equal(got, []string{c.resource}) {
					t.Errorf("%v: recorded %q", c, got)
				}
			}

			bearer := func(secret string, others ...string) clientRequest {
				return clientRequest{"GET", "/", append(others, "Authorization: Bearer "+secret)}
			}
			expect(401, `{"message": "Who are you?"}`, map[string]string{"Www-Authenticate": `Bearer realm="shop"`, "Content-Type": "application/json"}, clientRequest{method: "GET", path: "/"})
			expect(401, `{"message": "Who are you?"}`, map[string]string{"Www-Authenticate": `Bearer realm="shop", error="invalid_token"`}, bearer("shop_none"))
			expect(401, "", nil, clientRequest{"POST", "/", []string{"Content-Length: 1000"}})
			expect(418, "Not with this key.\n", map[string]string{"X-Shop": "closed", "Content-Type": "text/plain"}, bearer(narrow))
			expect(418, "Not with this key.\n", nil, bearer(narrow, "X-Keytrail-Scope: invoices:write", "X-Keytrail-Outcome: VALID"))
			expect(403, `"ip_not_allowed"`, nil, bearer(elsewhere, "X-Forwarded-For: 198.51.100.1"))
			expect(400, `"malformed_credentials"`, nil, bearer(limited, "Authorization: Bearer "+narrow))
			expect(400, `"malformed_credentials"`, nil, bearer(limited, "X-API-Key: "+narrow))
			expect(200, "", map[string]string{"X-Ratelimit-Remaining": "0"}, bearer(limited))
			expect(429, `{"message": "Slow down."}`, map[string]string{"Retry-After": "", "X-Ratelimit-Limit": "1", "X-Ratelimit-Remaining": "0", "X-Ratelimit-Reset": "", "Ratelimit": `"720h";r=0`}, bearer(limited))
		})
	}
}

// BenchmarkGateways is a question over loopback, with its client's part: over HTTP with
// connections that are kept, and over gRPC on one connection.
func BenchmarkGateways(b *testing.B) {
	s := startWith(b, nil, func(o *api.Options) {
		o.Verifier = verify.New(o.Store, o.Ledger, verify.Options{Durability: verify.Relaxed})
	})
	_, secret := s.create(s.root, `{"org_id":"`+s.org("acme")+`","name":"n","owner":"user_42","scopes":["a:read"]}`)
	b.Run("HTTP", func(b *testing.B) {
		client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				r, _ := http.NewRequest("GET", s.url+"/v1/authorize/default/orders/7?page=2", nil)
				r.Header = http.Header{"Authorization": {"Bearer " + secret}, "X-Keytrail-Scope": {"a:read"}}
				a, err := client.Do(r)
				if err != nil || a.StatusCode != 200 {
					b.Error(a, err)
					return
				}
				_, _ = io.Copy(io.Discard, a.Body)
				_ = a.Body.Close()
			}
		})
	})
	b.Run("gRPC", func(b *testing.B) {
		client := auth.NewAuthorizationClient(s.extAuthz(b))
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				a, err := client.Check(b.Context(), &auth.CheckRequest{Attributes: &auth.AttributeContext{ContextExtensions: map[string]string{"keyspace": "default", "scope": "a:read"},
					Request: &auth.AttributeContext_Request{Http: &auth.AttributeContext_HttpRequest{Method: "GET", Path: "/orders/7?page=2", Headers: map[string]string{"authorization": "Bearer " + secret}}}}})
				if err != nil || a.GetOkResponse() == nil {
					b.Error(a, err)
					return
				}
			}
		})
	})
}
