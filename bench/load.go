package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// A workload asks the load generator for one measurement. Every connection is a closed
// loop: it presents a key drawn evenly from its source, waits for the answer, and presents
// the next.
type workload struct {
	Population    int           `json:"population"` // how many keys there are
	Policy        int           `json:"policy"`     // population.Policy
	Sources       []source      `json:"sources"`
	Address       string        `json:"address"`
	Authorization string        `json:"authorization"`
	WarmUp        time.Duration `json:"warm_up"` // answers of this first time are not measured
	Duration      time.Duration `json:"duration"`
	CheckKeys     bool          `json:"check_keys"` // also that each answer names the key presented
}

// A source is connections that draw keys from a part of the population.
type source struct {
	Connections int    `json:"connections"`
	From        int    `json:"from"` // the first key
	Keys        int    `json:"keys"`
	IP          string `json:"ip,omitempty"`       // where they are presented from
	Keyspace    string `json:"keyspace,omitempty"` // asked for by forward authentication; "": by POST /v1/verify
}

// A measurement is what the generator saw. A wrong answer or a broken connection is an error.
type measurement struct {
	Requests    int64   `json:"requests"` // answered within Duration
	PerSecond   float64 `json:"per_second"`
	percentiles         // of the last source's answers
	Answers     int64   `json:"answers"` // warm-up and last ones included
}

// A generator is the load generator. It holds the secrets of all keys one after the other:
// minting one while under way would cost more than everything else that it does for a request.
type generator struct {
	secrets []byte
	policy  int
}

func (g *generator) generate(_ context.Context, w workload) (m measurement, err error) {
	g.mint(w.Population, w.Policy)
	var loops []*loop
	for i, from := range w.Sources {
		for range from.Connections {
			conn, err := net.Dial("tcp", w.Address)
			if err != nil {
				return m, err
			}
			defer conn.Close()
			loops = append(loops, newLoop(w, i, conn, g.secrets))
		}
	}
	begin := time.Now().Add(w.WarmUp)
	var running errgroup.Group
	for _, l := range loops {
		running.Go(func() error { return l.run(begin, begin.Add(w.Duration)) })
	}
	err = running.Wait()
	var last latencies
	for _, l := range loops {
		m.Answers += l.answers
		m.Requests += int64(len(l.latencies))
		if l.source == len(w.Sources)-1 {
			last = append(last, l.latencies...)
		}
	}
	m.PerSecond, m.percentiles = float64(m.Requests)/w.Duration.Seconds(), last.percentiles()
	return m, err
}

func (g *generator) mint(keys, policy int) {
	if len(g.secrets) == keys*secretLength && g.policy == policy {
		return
	}
	g.policy = policy
	g.secrets = make([]byte, keys*secretLength)
	var wg sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		wg.Go(func() {
			for i := w; i < keys; i += workers {
				secret := secretOf(i)
				if policy > 0 && i >= policy {
					secret = policySecretOf(i)
				}
				copy(g.secrets[i*secretLength:], secret.Reveal())
			}
		})
	}
	wg.Wait()
}

// A loop is one connection. Its request is composed once; only the secret's bytes change.
type loop struct {
	conn      net.Conn
	reader    *bufio.Reader
	source    int    // its number
	first     int    // key that it draws
	secrets   []byte // of the keys that it draws
	request   []byte
	secretAt  int // where in request the secret is
	checkKeys bool
	gateway   bool // it asks as one: 200 without a body lets the request pass
	latencies latencies
	answers   int64
}

func newLoop(w workload, number int, conn net.Conn, secrets []byte) *loop {
	from := w.Sources[number]
	l := &loop{conn: conn, reader: bufio.NewReaderSize(conn, 16<<10), source: number, first: from.From, checkKeys: w.CheckKeys, gateway: from.Keyspace != "",
		secrets: secrets[from.From*secretLength : (from.From+from.Keys)*secretLength]}
	if l.gateway {
		l.composeAuthorize(w.Address, from)
	} else {
		l.composeVerify(w, from)
	}
	return l
}

// composeVerify is a service's question.
func (l *loop) composeVerify(w workload, from source) {
	before, after := `{"key":"`, `","scopes":["`+askedScope+`"]}`
	if from.IP != "" {
		after = `","scopes":["` + askedScope + `"],"ip":"` + from.IP + `"}`
	}
	l.request = fmt.Appendf(nil, "POST /v1/verify HTTP/1.1\r\nHost: %s\r\nAuthorization: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		w.Address, w.Authorization, len(before)+secretLength+len(after), before)
	l.secretAt = len(l.request)
	l.request = append(append(l.request, make([]byte, secretLength)...), after...)
}

// composeAuthorize is the question of a gateway, which sends its client's key, method, path and address.
func (l *loop) composeAuthorize(address string, from source) {
	l.request = fmt.Appendf(nil, "GET /v1/authorize/%s HTTP/1.1\r\nHost: %s\r\nX-Keytrail-Scope: %s\r\nX-Forwarded-Method: GET\r\nX-Forwarded-Uri: /invoices?page=2\r\nX-Forwarded-For: %s\r\nAuthorization: Bearer ",
		from.Keyspace, address, askedScope, from.IP)
	l.secretAt = len(l.request)
	l.request = append(append(l.request, make([]byte, secretLength)...), "\r\n\r\n"...)
}

// run asks until end and then waits for the answer under way, so that every use that the
// server was asked about has its answer counted.
func (l *loop) run(begin, end time.Time) error {
	for asked := time.Now(); asked.Before(end); {
		if err := l.ask(rand.IntN(len(l.secrets) / secretLength)); err != nil {
			return err
		}
		answered := time.Now()
		if !answered.Before(begin) && answered.Before(end) {
			l.latencies = append(l.latencies, answered.Sub(asked))
		}
		asked = answered
	}
	return nil
}

var validAnswer = []byte(`"code":"VALID"`)

// ask presents key i of its source.
func (l *loop) ask(i int) error {
	copy(l.request[l.secretAt:], l.secrets[i*secretLength:(i+1)*secretLength])
	if _, err := l.conn.Write(l.request); err != nil {
		return err
	}
	status, body, err := readAnswer(l.reader)
	if err != nil {
		return err
	}
	if status != 200 || !l.gateway && (!bytes.Contains(body, validAnswer) || l.checkKeys && !bytes.Contains(body, []byte(keyOf(l.first+i)))) {
		return fmt.Errorf("a wrong answer about key %d: status %d: %.300s", l.first+i, status, body)
	}
	l.answers++
	return nil
}

var contentLength = []byte("content-length")

// readAnswer reads an HTTP/1.1 answer with a Content-Length, as every answer to a
// verification must be. The body is good until the next call.
func readAnswer(r *bufio.Reader) (status int, body []byte, err error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return 0, nil, err
	}
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return 0, nil, fmt.Errorf("not an HTTP/1.1 answer: %.40q", line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, nil, err
	}
	length := -1
	for len(line) > len("\r\n") {
		if line, err = r.ReadSlice('\n'); err != nil {
			return 0, nil, err
		}
		name, value, _ := bytes.Cut(line, []byte(": "))
		if bytes.EqualFold(name, contentLength) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return 0, nil, err
			}
		}
	}
	if length < 0 {
		return 0, nil, errors.New("an answer without a Content-Length")
	}
	if body, err = r.Peek(length); err != nil {
		return 0, nil, err
	}
	_, err = r.Discard(length)
	return status, body, err
}
