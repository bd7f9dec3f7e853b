// Command splunk is NOT Splunk: it is a stand-in for its HTTP Event Collector, written from Splunk's
// documentation, for want of a package of the real one. It takes events at
// /services/collector/event, says at /services/collector/ack that they are indexed when it is
// asked for the second time, and writes them to standard output.
//
//	splunk LISTEN CERTIFICATE KEY TOKEN
package main

import (
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
)

type object = map[string]any

type collector struct {
	mu    sync.Mutex
	acks  int
	asked map[int]bool
}

func (c *collector) event(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("X-Splunk-Request-Channel") == "" {
		answer(w, http.StatusBadRequest, object{"text": "Data channel is missing", "code": 10})
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	out := json.NewEncoder(os.Stdout)
	for events := json.NewDecoder(http.MaxBytesReader(w, r.Body, 100<<20)); ; {
		var e object
		if err := events.Decode(&e); errors.Is(err, io.EOF) {
			break
		} else if err != nil || e["event"] == nil {
			answer(w, http.StatusBadRequest, object{"text": "Invalid data format", "code": 6})
			return
		}
		_ = out.Encode(e)
	}
	answer(w, http.StatusOK, object{"text": "Success", "code": 0, "ackId": c.acks})
	c.acks++
}

func (c *collector) ack(w http.ResponseWriter, r *http.Request) {
	var q struct{ Acks []int }
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil || r.URL.Query().Get("channel") == "" {
		answer(w, http.StatusBadRequest, object{"text": "Invalid data format", "code": 6})
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	indexed := map[string]bool{}
	for _, id := range q.Acks {
		indexed[strconv.Itoa(id)] = c.asked[id]
		c.asked[id] = true
	}
	answer(w, http.StatusOK, object{"acks": indexed})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func main() {
	if len(os.Args) != 5 {
		log.Fatal("usage: splunk LISTEN CERTIFICATE KEY TOKEN")
	}
	c := &collector{asked: map[int]bool{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /services/collector/event", c.event)
	mux.HandleFunc("POST /services/collector/ack", c.ack)
	authorized := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Splunk "+os.Args[4] {
			answer(w, http.StatusForbidden, object{"text": "Invalid token", "code": 4})
			return
		}
		mux.ServeHTTP(w, r)
	})
	server := http.Server{Addr: os.Args[1], Handler: authorized, ReadTimeout: 30 * time.Second}
	log.Fatal(server.ListenAndServeTLS(os.Args[2], os.Args[3]))
}
