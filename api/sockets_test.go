package api_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// counting is a dialler that counts.
func counting(n *atomic.Int32) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		n.Add(1)
		return new(net.Dialer).DialContext(ctx, network, address)
	}
}

// A socket is a connection of a client that does not behave.
type socket struct {
	net.Conn
	*bufio.Reader
}

// dial opens a connection from an address of this machine.
func (s *service) dial(from string) socket {
	s.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.DialContext(s.t.Context(), "tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	return socket{c, bufio.NewReader(c)}
}

func (c socket) send(format string, args ...any) error {
	_, err := fmt.Fprintf(c, strings.ReplaceAll(format, "\n", "\r\n"), args...)
	return err
}

// status reads the status line and the headers of an answer.
func (c socket) status(t testing.TB) string {
	t.Helper()
	line, err := c.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	for header := line; strings.TrimSpace(header) != ""; {
		if header, err = c.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	return strings.TrimSpace(strings.TrimPrefix(line, "HTTP/1.1 "))
}

// stuff pipelines requests, and reads no answer, until the server reads no more of them:
// it is waiting for this client.
func (c socket) stuff(t testing.TB, request string) {
	t.Helper()
	many := strings.Repeat(request, 1000)
	for {
		_ = c.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
		if err := c.send("%s", strings.ReplaceAll(many, "\n", "\r\n")); err != nil {
			if n, ok := err.(net.Error); !ok || !n.Timeout() {
				t.Fatal(err)
			}
			return
		}
	}
}

// from is a client that has an address of this machine.
func from(address string) *http.Client {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	return &http.Client{Transport: &http.Transport{DialContext: d.DialContext}, Timeout: 20 * time.Second}
}
