package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func TestTheGeneratorMeasuresWhatTheBaselineAnswers(t *testing.T) {
	const answer = `{"valid":true,"code":"VALID"}`
	server := httptest.NewServer(bareHandler([]byte(answer)))
	defer server.Close()
	o := workload{Population: 10, Sources: []source{{Connections: 3, From: 0, Keys: 10}}, Address: server.Listener.Addr().String(), Authorization: "Bearer x", Duration: 100 * time.Millisecond}
	m, err := new(generator).generate(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if m.Requests == 0 || m.Answers < m.Requests || m.Answers > m.Requests+3 {
		t.Errorf("measured %+v", m)
	}
	if m.P50 <= 0 || m.P50 > m.P99 || m.P99 > m.Max {
		t.Errorf("the latencies contradict each other: %+v", m)
	}
}

func TestTheGeneratorSendsAKeyOfThePopulationInAWholeRequest(t *testing.T) {
	known := map[string]bool{}
	for i := range 10 {
		known[`{"key":"`+secretOf(i).Reveal()+`","scopes":["invoices:read"]}`] = true
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if !known[string(body)] || r.Header.Get("Authorization") != "Bearer x" || r.Method != http.MethodPost || r.URL.Path != "/v1/verify" {
			w.WriteHeader(http.StatusBadRequest)
		}
		_, _ = io.WriteString(w, `{"code":"VALID"}`)
	}))
	defer server.Close()
	o := workload{Population: 10, Sources: []source{{Connections: 1, From: 0, Keys: 10}}, Address: server.Listener.Addr().String(), Authorization: "Bearer x", Duration: 50 * time.Millisecond}
	m, err := new(generator).generate(t.Context(), o)
	if err != nil || m.Answers == 0 {
		t.Errorf("measured %+v, %v", m, err)
	}
}

func TestWrongAnswersAndBrokenConnectionsAreErrors(t *testing.T) {
	const valid = `{"code":"VALID"}`
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		check   bool
	}{
		"a refusal": {handler: func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"code":"REVOKED"}`) }},
		"another status": {handler: func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, valid, http.StatusServiceUnavailable)
		}},
		"another key's":    {handler: func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, valid) }, check: true},
		"a hung-up server": {handler: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(c.handler)
			defer server.Close()
			o := workload{Population: 2, Sources: []source{{Connections: 2, From: 0, Keys: 2}}, Address: server.Listener.Addr().String(), Duration: 30 * time.Millisecond, CheckKeys: c.check}
			if m, err := new(generator).generate(t.Context(), o); err == nil || m.Answers != 0 {
				t.Errorf("measured %+v, %v", m, err)
			}
		})
	}
}

func TestAnswersAreReadHoweverTheyArrive(t *testing.T) {
	const stream = "HTTP/1.1 200 OK\r\nContent-Type: a\r\nCONTENT-length: 5\r\n\r\nhello" +
		"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n" +
		"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\nX: y\r\n\r\nno"
	for name, source := range map[string]io.Reader{
		"all at once":    strings.NewReader(stream),
		"byte by byte":   iotest.OneByteReader(strings.NewReader(stream)),
		"halves":         iotest.HalfReader(strings.NewReader(stream)),
		"end with bytes": iotest.DataErrReader(strings.NewReader(stream)),
	} {
		r := bufio.NewReader(source)
		for _, want := range []struct {
			status int
			body   string
		}{{200, "hello"}, {204, ""}, {503, "no"}} {
			status, body, err := readAnswer(r)
			if err != nil || status != want.status || string(body) != want.body {
				t.Errorf("%s: read %d %q %v, want %d %q", name, status, body, err, want.status, want.body)
			}
		}
		if _, _, err := readAnswer(r); err != io.EOF {
			t.Errorf("%s: at the end: %v", name, err)
		}
	}
}

func TestAnswersThatCannotBeDelimitedAreErrors(t *testing.T) {
	for _, stream := range []string{
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 2x0 OK\r\nContent-Length: 0\r\n\r\n",
		"SSH-2.0-OpenSSH_9.6\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n" + strings.Repeat("x", 99999),
	} {
		r := bufio.NewReader(strings.NewReader(stream))
		if _, _, err := readAnswer(r); err == nil {
			t.Errorf("%.40q was read", stream)
		}
	}
}

// BenchmarkGenerator is what one request costs the generator and a server that answers
// without looking: the ceiling of what can be measured.
func BenchmarkGenerator(b *testing.B) {
	client, server := net.Pipe()
	defer client.Close()
	go func() {
		buffer := make([]byte, 4096)
		for {
			if _, err := server.Read(buffer); err != nil {
				return
			}
			_, _ = io.WriteString(server, "HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{\"code\":\"VALID\"}")
		}
	}()
	g := new(generator)
	g.mint(1000, 0)
	w := workload{Sources: []source{{Connections: 1, From: 0, Keys: 1000}}}
	l := newLoop(w, 0, client)
	l.draw(w.Sources[0], g.secrets, secretLength, keyNumber)
	l.compose(w, w.Sources[0])
	for b.Loop() {
		if err := l.ask(7); err != nil {
			b.Fatal(err)
		}
	}
}
