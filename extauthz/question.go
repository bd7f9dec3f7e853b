package extauthz

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/types/known/structpb"
)

// metadataNamespace is where filters of Envoy's say what they have read from a request, such as
// the organization that its path names.
const metadataNamespace = "keytrail"

// keyspaceName is the member of the context extensions that names the keyspace. The others are
// parameters of forward authentication.
const keyspaceName = "keyspace"

// newQuestion is the request of forward authentication for what Envoy asks. What the key must
// have comes from Envoy's configuration, what the client wants from the client's request. forged
// are the client's headers that are not a client's to send.
func newQuestion(ctx context.Context, a *auth.AttributeContext) (r *http.Request, forged []string) {
	demands := demandsOf(a)
	keyspace := demands.Get(keyspaceName)
	demands.Del(keyspaceName)
	const path = "/v1/authorize/"
	r = newRequest(ctx, &url.URL{Path: path + keyspace, RawPath: path + url.PathEscape(keyspace), RawQuery: demands.Encode()})
	client := a.GetRequest().GetHttp()
	r.Host = client.GetHost()
	copyHeaders(r.Header, client)
	forged = dropForged(r.Header)
	r.Header["X-Forwarded-Method"] = []string{client.GetMethod()}
	r.Header["X-Forwarded-Uri"] = []string{client.GetPath()}
	addSource(r.Header, a.GetSource())
	return r, forged
}

// newRequest is a GET request of the caller.
func newRequest(ctx context.Context, u *url.URL) *http.Request {
	r := &http.Request{Method: http.MethodGet, URL: u, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Body: http.NoBody}
	if p, ok := peer.FromContext(ctx); ok {
		r.RemoteAddr = p.Addr.String()
	}
	return r.WithContext(ctx)
}

// demandsOf are the route's context extensions and the metadata of filters before this one,
// both of which are Envoy's own. What the API does not know of them it refuses, as it refuses
// what may be said once and is said twice.
func demandsOf(a *auth.AttributeContext) url.Values {
	demands := url.Values{}
	add := func(name, value string) {
		values := []string{value}
		if name == "scope" {
			values = strings.Fields(value) // several, as in X-Keytrail-Scope
		}
		demands[name] = append(demands[name], values...)
	}
	for name, value := range a.GetContextExtensions() {
		add(name, value)
	}
	for name, value := range a.GetMetadataContext().GetFilterMetadata()[metadataNamespace].GetFields() {
		add(name, textOf(value))
	}
	return demands
}

// textOf is a text or a number; of all else a text that stands for nothing.
func textOf(v *structpb.Value) string {
	switch kind := v.GetKind().(type) {
	case *structpb.Value_StringValue:
		return kind.StringValue
	case *structpb.Value_NumberValue:
		return strconv.FormatFloat(kind.NumberValue, 'f', -1, 64)
	}
	return v.String()
}

// copyHeaders adds the client's headers: Envoy sends them as text, in which headers of one name
// are joined, or raw if encode_raw_headers is set.
func copyHeaders(h http.Header, client *auth.AttributeContext_HttpRequest) {
	for name, value := range client.GetHeaders() {
		h.Add(name, value)
	}
	for _, header := range client.GetHeaderMap().GetHeaders() {
		h.Add(header.GetKey(), rawValue(header))
	}
}

func rawValue(h *core.HeaderValue) string {
	if raw := h.GetRawValue(); raw != nil {
		return string(raw)
	}
	return h.GetValue()
}

// dropForged drops what is for gateways to say, and pseudo-headers. It returns the names that
// Keytrail's headers have, as Envoy writes them.
func dropForged(h http.Header) (forged []string) {
	for name := range h {
		switch {
		case ours(name):
			forged = append(forged, strings.ToLower(name))
			delete(h, name)
		case strings.HasPrefix(name, ":"), strings.HasPrefix(name, "X-Original-"):
			delete(h, name)
		}
	}
	return forged
}

// prefix begins the names of Keytrail's headers.
const prefix = "x-keytrail-"

// ours tells whether a header's name is one of Keytrail's, in any spelling that a backend may
// take for it.
func ours(name string) bool {
	return strings.HasPrefix(strings.ToLower(strings.ReplaceAll(name, "_", "-")), prefix)
}

// addSource appends the address that has connected to Envoy to those that proxies before it
// have named: the API takes the last one that is no trusted proxy's.
func addSource(h http.Header, source *auth.AttributeContext_Peer) {
	address := source.GetAddress().GetSocketAddress().GetAddress()
	if address == "" {
		h.Del("X-Forwarded-For")
		return
	}
	h.Add("X-Forwarded-For", address)
}
