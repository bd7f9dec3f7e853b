// Echo is a backend that answers with the request as it got it: the head, line by line, and
// the length of the body. It prints the address that it listens on.
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"time"
)

func main() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(l.Addr())
	s := &http.Server{Handler: http.HandlerFunc(echo), ReadTimeout: time.Minute}
	log.Fatal(s.Serve(l))
}

func echo(w http.ResponseWriter, r *http.Request) {
	head, err := httputil.DumpRequest(r, false)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	body, _ := io.Copy(io.Discard, r.Body)
	fmt.Fprintf(w, "%sBody-Bytes: %d\r\n", head, body)
}
