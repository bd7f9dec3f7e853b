package api

import (
	"context"
)

type contextKey int

const (
	principalKey contextKey = iota
	requestIDKey
	bodyKey
	callerKey
)

func requestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey).(string)
	return id
}
