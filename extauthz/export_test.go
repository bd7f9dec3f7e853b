package extauthz

import (
	"context"
	"net/http"

	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
)

// Check answers a call without gRPC.
func Check(ctx context.Context, handler http.Handler, in *auth.CheckRequest) (*auth.CheckResponse, error) {
	return (&authorization{handler: handler}).Check(ctx, in)
}
