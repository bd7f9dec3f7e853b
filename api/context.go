package api

import (
	"context"
	"net/http"

	"github.com/keytrail/keytrail/verify"
)

// The values that a request's context carries from the middleware and the route to a handler.
type contextKey int

const (
	requestIDKey contextKey = iota
	callerKey
	bodyKey
	httpRequestKey
)

// withRequestID is the context of r with its id. It is not the request with it, whose copy would
// not stay on its caller's stack.
func withRequestID(r *http.Request, id string) context.Context {
	return context.WithValue(r.Context(), requestIDKey, id)
}

func requestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey).(string)
	return id
}

// callerOf is the caller that a route authenticated.
func callerOf(ctx context.Context) *verify.Caller { return ctx.Value(callerKey).(*verify.Caller) }

// requestOf is the request that a management route was called with.
func requestOf(ctx context.Context) *http.Request { return ctx.Value(httpRequestKey).(*http.Request) }

// bodyOf is the text of a management request's body.
func bodyOf(ctx context.Context) []byte {
	body, _ := ctx.Value(bodyKey).([]byte)
	return body
}
