// Command webhook is a receiver of webhooks: it checks each with the reference library of Standard
// Webhooks, drops repeats, and writes what is new to standard output.
//
//	webhook LISTEN CERTIFICATE KEY SECRET_FILE
package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// maxBody is more than any event of Keytrail has.
const maxBody = 1 << 20

type receiver struct {
	webhook *standardwebhooks.Webhook
	mu      sync.Mutex
	seen    map[string]bool // by webhook-id; in production a table with a unique column
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, q.Body, maxBody))
	if err != nil {
		http.Error(w, "the body cannot be read", http.StatusBadRequest)
		return
	}
	if err := r.webhook.Verify(body, q.Header); err != nil {
		http.Error(w, err.Error(), http.StatusUnauthorized)
		return
	}
	r.keep(q.Header.Get("webhook-id"), body)
	w.WriteHeader(http.StatusNoContent)
}

func (r *receiver) keep(id string, body []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.seen[id] {
		r.seen[id] = true
		fmt.Printf("%s\n", body)
	}
}

func main() {
	if len(os.Args) != 5 {
		log.Fatal("usage: webhook LISTEN CERTIFICATE KEY SECRET_FILE")
	}
	secret, err := os.ReadFile(os.Args[4])
	if err != nil {
		log.Fatal(err)
	}
	webhook, err := standardwebhooks.NewWebhook(strings.TrimSpace(string(secret)))
	if err != nil {
		log.Fatal(err)
	}
	server := http.Server{Addr: os.Args[1], Handler: &receiver{webhook: webhook, seen: map[string]bool{}}, ReadTimeout: 30 * time.Second}
	log.Fatal(server.ListenAndServeTLS(os.Args[2], os.Args[3]))
}
