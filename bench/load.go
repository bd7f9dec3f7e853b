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
	"strings"
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
	Tokens        []string      `json:"tokens"`     // population.Tokens
}

// A source is connections that draw keys from a part of the population.
type source struct {
	Connections int    `json:"connections"`
	From        int    `json:"from"` // the first key
	Keys        int    `json:"keys"`
	IP          string `json:"ip,omitempty"`       // where they are presented from
	Keyspace    string `json:"keyspace,omitempty"` // asked for by forward authentication; "": by POST /v1/verify
	Named       string `json:"named,omitempty"`    // the keyspace that POST /v1/verify names; "": none
	Tokens      bool   `json:"tokens,omitempty"`   // it draws tokens of sessions instead
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
	tokens := []byte(strings.Join(w.Tokens, ""))
	var loops []*loop
	for i, from := range w.Sources {
		for range from.Connections {
			conn, err := net.Dial("tcp", w.Address)
			if err != nil {
				return m, err
			}
			defer conn.Close()
			l := newLoop(w, i, conn)
			if from.Tokens {
				l.draw(from, tokens, len(w.Tokens[0]), sessionNumber)
			} else {
				l.draw(from, g.secrets, secretLength, keyNumber)
			}
			l.compose(w, from)
			loops = append(loops, l)
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
	source    int                // its number
	first     int                // key that it draws
	secrets   []byte             // of the keys that it draws
	length    int                // of each
	name      func(i int) string // the id that an answer has
	request   []byte
	secretAt  int // where in request the secret is
	checkKeys bool
	gateway   bool // it asks as one: 200 without a body lets the request pass
	latencies latencies
	answers   int64
}

func newLoop(w workload, number int, conn net.Conn) *loop {
	from := w.Sources[number]
	return &loop{conn: conn, reader: bufio.NewReaderSize(conn, 16<<10), source: number, first: from.From, checkKeys: w.CheckKeys, gateway: from.Keyspace != ""}
}

func keyNumber(i int) string     { return string(keyOf(i)) }
func sessionNumber(i int) string { return string(sessionOf(i)) }

// draw has l present secrets of some length, which lie one after the other.
func (l *loop) draw(from source, secrets []byte, length int, name func(int) string) {
	l.secrets, l.length, l.name = secrets[from.From*length:(from.From+from.Keys)*length], length, name
}

func (l *loop) compose(w workload, from source) {
	if l.gateway {
		l.composeAuthorize(w.Address, from)
	} else {
		l.composeVerify(w, from)
	}
}

// composeVerify is a service's question.
func (l *loop) composeVerify(w workload, from source) {
	before, after := `{"key":"`, `","scopes":["`+askedScope+`"]`
	if from.IP != "" {
		after += `,"ip":"` + from.IP + `"`
	}
	if from.Named != "" {
		after += `,"keyspace":"` + from.Named + `"`
	}
	after += "}"
	l.request = fmt.Appendf(nil, "POST /v1/verify HTTP/1.1\r\nHost: %s\r\nAuthorization: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		w.Address, w.Authorization, len(before)+l.length+len(after), before)
	l.secretAt = len(l.request)
	l.request = append(append(l.request, make([]byte, l.length)...), after...)
}

// composeAuthorize is the question of a gateway, which sends its client's key, method, path and address.
func (l *loop) composeAuthorize(address string, from source) {
	l.request = fmt.Appendf(nil, "GET /v1/authorize/%s HTTP/1.1\r\nHost: %s\r\nX-Keytrail-Scope: %s\r\nX-Forwarded-Method: GET\r\nX-Forwarded-Uri: /invoices?page=2\r\nX-Forwarded-For: %s\r\nAuthorization: Bearer ",
		from.Keyspace, address, askedScope, from.IP)
	l.secretAt = len(l.request)
	l.request = append(append(l.request, make([]byte, l.length)...), "\r\n\r\n"...)
}

// run asks until end and then waits for the answer under way, so that every use that the
// server was asked about has its answer counted.
func (l *loop) run(begin, end time.Time) error {
	for asked := time.Now(); asked.Before(end); {
		if err := l.ask(rand.IntN(len(l.secrets) / l.length)); err != nil {
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
	copy(l.request[l.secretAt:], l.secrets[i*l.length:(i+1)*l.length])
	if _, err := l.conn.Write(l.request); err != nil {
		return err
	}
	status, body, err := readAnswer(l.reader)
	if err != nil {
		return err
	}
	if status != 200 || !l.gateway && (!bytes.Contains(body, validAnswer) || l.checkKeys && !bytes.Contains(body, []byte(l.name(l.first+i)))) {
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
