package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// An order asks the load generator for one measurement. Every connection is a closed
// loop: it presents a key drawn evenly from the population, waits for the answer, and
// presents the next.
type order struct {
	Address       string        `json:"address"`
	Authorization string        `json:"authorization"`
	Connections   int           `json:"connections"`
	WarmUp        time.Duration `json:"warm_up"` // answers of this first time are not measured
	Duration      time.Duration `json:"duration"`
	CheckKeys     bool          `json:"check_keys"` // also that each answer names the key presented
}

// A measurement is what the generator saw. Latencies are in microseconds.
type measurement struct {
	Requests   int64   `json:"requests"` // answered within Duration
	PerSecond  float64 `json:"per_second"`
	P50        float64 `json:"p50_us"`
	P90        float64 `json:"p90_us"`
	P99        float64 `json:"p99_us"`
	P999       float64 `json:"p999_us"`
	Max        float64 `json:"max_us"`
	Answers    int64   `json:"answers"` // right ones, warm-up and last ones included
	Wrong      int64   `json:"wrong"`
	Broken     int64   `json:"broken"` // connections that ended before their time
	FirstWrong string  `json:"first_wrong,omitempty"`
	CPU        float64 `json:"generator_cpu_seconds"`
}

// generate is the load generator: a process of its own, so that whatever it drives sees
// the same one. It takes the number of keys in the population as its argument, orders as
// JSON lines, and answers each with a measurement as a JSON line.
func generate(args []string, stdin io.Reader, stdout io.Writer) error {
	if len(args) != 1 {
		return errors.New("load: say how many keys there are")
	}
	keys, err := strconv.Atoi(args[0])
	if err != nil || keys < 1 {
		return fmt.Errorf("load: %q is not a number of keys", args[0])
	}
	stop, err := profileCPU(os.Getenv(profileVariable))
	if err != nil {
		return err
	}
	defer stop()
	secrets := secretTable(keys)
	orders, answers := json.NewDecoder(bufio.NewReader(stdin)), json.NewEncoder(stdout)
	for {
		var o order
		if err := orders.Decode(&o); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		m, err := o.carryOut(secrets)
		if err != nil {
			return err
		}
		if err := answers.Encode(m); err != nil {
			return err
		}
	}
}

// secretTable holds the secrets of all keys one after the other: minting one while under
// way would cost more than everything else that the generator does for a request.
func secretTable(keys int) []byte {
	table := make([]byte, keys*secretLength)
	var wg sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		wg.Go(func() {
			for i := w; i < keys; i += workers {
				copy(table[i*secretLength:], secretOf(i).Reveal())
			}
		})
	}
	wg.Wait()
	return table
}

func (o order) carryOut(secrets []byte) (measurement, error) {
	loops := make([]*loop, o.Connections)
	for i := range loops {
		l, err := o.connect(secrets, uint64(i))
		if err != nil {
			return measurement{}, err
		}
		defer l.conn.Close()
		loops[i] = l
	}
	before := processorTime()
	begin := time.Now().Add(o.WarmUp)
	var wg sync.WaitGroup
	for _, l := range loops {
		wg.Go(func() { l.run(begin, begin.Add(o.Duration)) })
	}
	wg.Wait()
	m := o.sum(loops)
	m.CPU = (processorTime() - before).Seconds()
	return m, nil
}

func (o order) sum(loops []*loop) measurement {
	var m measurement
	var h histogram
	for _, l := range loops {
		h.add(&l.latencies)
		m.Answers += l.answers
		m.Wrong += l.wrong
		if l.broken {
			m.Broken++
		}
		if m.FirstWrong == "" {
			m.FirstWrong = l.firstWrong
		}
	}
	m.Requests, m.PerSecond = h.total, float64(h.total)/o.Duration.Seconds()
	m.P50, m.P90, m.P99, m.P999 = micros(h.quantile(.5)), micros(h.quantile(.9)), micros(h.quantile(.99)), micros(h.quantile(.999))
	m.Max = micros(h.max)
	return m
}

// A loop is one connection. Its request is composed once; only the secret's bytes change.
type loop struct {
	order      order
	conn       net.Conn
	secrets    []byte
	request    []byte
	secretAt   int // where in request the secret is
	answer     answerReader
	random     *rand.Rand
	latencies  histogram
	answers    int64
	wrong      int64
	firstWrong string
	broken     bool
}

func (o order) connect(secrets []byte, seed uint64) (*loop, error) {
	conn, err := net.Dial("tcp", o.Address)
	if err != nil {
		return nil, err
	}
	l := &loop{order: o, conn: conn, secrets: secrets, random: rand.New(rand.NewPCG(seed, uint64(time.Now().UnixNano())))}
	l.answer.source = conn
	l.request, l.secretAt = composeVerify(o.Address, o.Authorization)
	return l, nil
}

// composeVerify is a verification request with room for a secret at the place it answers.
func composeVerify(host, authorization string) (request []byte, secretAt int) {
	const before, after = `{"key":"`, `","scopes":["` + askedScope + `"]}`
	request = fmt.Appendf(nil, "POST /v1/verify HTTP/1.1\r\nHost: %s\r\nAuthorization: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		host, authorization, len(before)+secretLength+len(after), before)
	secretAt = len(request)
	request = append(request, make([]byte, secretLength)...)
	return append(request, after...), secretAt
}

// run asks until end and then waits for the answer under way, so that every use that the
// server was asked about has its answer counted.
func (l *loop) run(begin, end time.Time) {
	asked := time.Now()
	for asked.Before(end) {
		i := l.random.IntN(len(l.secrets) / secretLength)
		if err := l.ask(i); err != nil {
			l.broken = true
			l.note(err.Error())
			return
		}
		answered := time.Now()
		if !answered.Before(begin) && answered.Before(end) {
			l.latencies.record(answered.Sub(asked))
		}
		asked = answered
	}
}

var validAnswer = []byte(`"code":"VALID"`)

func (l *loop) ask(i int) error {
	copy(l.request[l.secretAt:], l.secrets[i*secretLength:(i+1)*secretLength])
	if _, err := l.conn.Write(l.request); err != nil {
		return err
	}
	status, body, err := l.answer.read()
	if err != nil {
		return err
	}
	if status != 200 || !bytes.Contains(body, validAnswer) || l.order.CheckKeys && !bytes.Contains(body, []byte(keyOf(i))) {
		l.wrong++
		l.note(fmt.Sprintf("key %d: status %d: %.300s", i, status, body))
		return nil
	}
	l.answers++
	return nil
}

func (l *loop) note(text string) {
	if l.firstWrong == "" {
		l.firstWrong = text
	}
}

// An answerReader reads HTTP/1.1 answers that have a Content-Length, as all answers to a
// verification must, from a connection that is kept open.
type answerReader struct {
	source io.Reader
	buffer [16 << 10]byte
	start  int // of what is read and not yet used
	end    int
}

var (
	headEnd       = []byte("\r\n\r\n")
	contentLength = []byte("\r\ncontent-length: ")
)

// read is the next answer. The body is good until the next call.
func (r *answerReader) read() (status int, body []byte, err error) {
	copy(r.buffer[:], r.buffer[r.start:r.end])
	r.start, r.end = 0, r.end-r.start
	head := -1
	for head < 0 {
		if head = bytes.Index(r.buffer[:r.end], headEnd); head >= 0 {
			break
		}
		if err := r.more(); err != nil {
			return 0, nil, err
		}
	}
	status, length, err := parseHead(r.buffer[:head+2])
	if err != nil {
		return 0, nil, err
	}
	head += len(headEnd)
	for r.end < head+length {
		if err := r.more(); err != nil {
			return 0, nil, err
		}
	}
	r.start = head + length
	return status, r.buffer[head:r.start], nil
}

func (r *answerReader) more() error {
	if r.end == len(r.buffer) {
		return errors.New("the answer is longer than the generator's buffer")
	}
	n, err := r.source.Read(r.buffer[r.end:])
	r.end += n
	if n > 0 {
		return nil
	}
	return err
}

func parseHead(head []byte) (status, length int, err error) {
	if len(head) < 12 || !bytes.HasPrefix(head, []byte("HTTP/1.1 ")) {
		return 0, 0, fmt.Errorf("not an HTTP/1.1 answer: %.40q", head)
	}
	if status, err = strconv.Atoi(string(head[9:12])); err != nil {
		return 0, 0, fmt.Errorf("not a status: %.40q", head)
	}
	at := indexFold(head, contentLength)
	if at < 0 {
		return 0, 0, fmt.Errorf("an answer of status %d without a Content-Length", status)
	}
	for _, c := range head[at+len(contentLength):] {
		if c < '0' || c > '9' {
			break
		}
		length = 10*length + int(c-'0')
	}
	return status, length, nil
}

// indexFold finds lower, which must be in lower case, in any spelling: only lines that
// begin with the right letter are compared.
func indexFold(s, lower []byte) int {
	for from := 0; ; {
		i := bytes.IndexByte(s[from:], '\r')
		if i < 0 || from+i+len(lower) > len(s) {
			return -1
		}
		if at := from + i; bytes.EqualFold(s[at:at+len(lower)], lower) {
			return at
		}
		from += i + 1
	}
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

// processorTime is what this process has used of the processors.
func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
