package main

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
)

// baseline is the yardstick: the least that a net/http server can do and still answer a
// verification. It reads the request's body and writes one answer, of the very bytes
// that the service gave when it was asked about one key. It serves until it is killed.
//
// Its arguments are the address to listen on and, on standard input, the answer.
func baseline(args []string, stdin io.Reader) error {
	if len(args) != 1 {
		return errors.New("baseline: name the address to listen on")
	}
	answer, err := io.ReadAll(stdin)
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", args[0])
	if err != nil {
		return err
	}
	stop, err := profileCPU(os.Getenv(profileVariable))
	if err != nil {
		return err
	}
	defer stop()
	return serveUntilInterrupted(ln, bareHandler(answer))
}

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
