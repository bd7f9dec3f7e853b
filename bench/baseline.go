package main

import (
	"context"
	"io"
	"net"
	"net/http"
)

// serveBaseline serves the bare handler, the baseline of verification, for as long as the
// process lives, and returns its address.
func serveBaseline(_ context.Context, answer []byte) (address string, err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	go func() { _ = http.Serve(ln, bareHandler(answer)) }()
	return ln.Addr().String(), nil
}

// bareHandler does the least that a net/http server can do and still answer a verification:
// it reads the request's body and writes one answer, of the very bytes that the service gave
// when it was asked about one key.
func bareHandler(answer []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		w.Header()["Content-Type"] = jsonContent
		_, _ = w.Write(answer)
	})
}

var jsonContent = []string{"application/json"}
