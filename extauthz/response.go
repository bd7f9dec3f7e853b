package extauthz

import (
	"bytes"
	"net/http"
	"net/url"
	"strings"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	envoy "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	rpc "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"
)

// A response is the API's answer, in memory.
type response struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *response) Header() http.Header {
	if r.header == nil {
		r.header = http.Header{}
	}
	return r.header
}

func (r *response) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
}

func (r *response) Write(b []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	return r.body.Write(b)
}

// allow lets the request pass. It overwrites the headers that say whose it is, and removes what
// else the client says in Keytrail's name.
func (r *response) allow(forged []string) *auth.CheckResponse {
	ok := &auth.OkHttpResponse{}
	for name, values := range r.header {
		switch {
		case ours(name):
			ok.Headers = append(ok.Headers, overwrite(name, values))
		case strings.HasPrefix(name, "X-Ratelimit-"), strings.HasPrefix(name, "Ratelimit"):
			ok.ResponseHeadersToAdd = append(ok.ResponseHeadersToAdd, overwrite(name, values))
		}
	}
	for _, name := range forged {
		if _, overwritten := r.header[http.CanonicalHeaderKey(name)]; !overwritten {
			ok.HeadersToRemove = append(ok.HeadersToRemove, name)
		}
	}
	return &auth.CheckResponse{Status: &rpc.Status{Code: int32(codes.OK)}, HttpResponse: &auth.CheckResponse_OkResponse{OkResponse: ok}, DynamicMetadata: r.metadata()}
}

// deny gives the client the answer as it is.
func (r *response) deny() *auth.CheckResponse {
	denied := &auth.DeniedHttpResponse{Status: &envoy.HttpStatus{Code: envoy.StatusCode(r.status)}, Body: r.body.String()}
	for name, values := range r.header {
		denied.Headers = append(denied.Headers, overwrite(name, values))
	}
	return &auth.CheckResponse{Status: &rpc.Status{Code: int32(codeOf(r.status))}, HttpResponse: &auth.CheckResponse_DeniedResponse{DeniedResponse: denied}, DynamicMetadata: r.metadata()}
}

func overwrite(name string, values []string) *core.HeaderValueOption {
	return &core.HeaderValueOption{Header: &core.HeaderValue{Key: strings.ToLower(name), Value: strings.Join(values, ", ")},
		AppendAction: core.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD}
}

// codeOf is what gRPC calls a status of HTTP. Envoy tells OK from all others; the rest is for
// those who read its logs.
func codeOf(status int) codes.Code {
	switch status {
	case http.StatusBadRequest:
		return codes.InvalidArgument
	case http.StatusUnauthorized:
		return codes.Unauthenticated
	case http.StatusNotFound:
		return codes.NotFound
	case http.StatusTooManyRequests:
		return codes.ResourceExhausted
	case http.StatusServiceUnavailable:
		return codes.Unavailable
	case http.StatusInternalServerError:
		return codes.Internal
	}
	return codes.PermissionDenied
}

// metadata is what the headers of Keytrail's say, for Envoy's logs and later filters: key_id
// is X-Keytrail-Key-Id.
func (r *response) metadata() *structpb.Struct {
	m := &structpb.Struct{Fields: map[string]*structpb.Value{}}
	for name, values := range r.header {
		if member, found := strings.CutPrefix(strings.ToLower(name), prefix); found {
			m.Fields[strings.ReplaceAll(member, "-", "_")] = metadataValue(member, values[0])
		}
	}
	return m
}

func metadataValue(member, value string) *structpb.Value {
	switch member {
	case "scopes":
		list := &structpb.ListValue{}
		for scope := range strings.FieldsSeq(value) {
			list.Values = append(list.Values, structpb.NewStringValue(scope))
		}
		return structpb.NewListValue(list)
	case "owner", "name":
		if text, err := url.PathUnescape(value); err == nil {
			value = text
		}
	case "metadata":
		object := new(structpb.Struct)
		if object.UnmarshalJSON([]byte(value)) == nil {
			return structpb.NewStructValue(object)
		}
	}
	return structpb.NewStringValue(value)
}
