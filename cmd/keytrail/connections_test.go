package main

import (
	"bufio"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// One address holds half of the connections at most, unless it is a proxy's, and all
// together hold no more than the limit. A connection that is closed makes room.
func TestNobodyHoldsEveryConnection(t *testing.T) {
	metrics := prometheus.NewRegistry()
	connections := newConnections(connectionLimits{all: 4}, []netip.Prefix{netip.MustParsePrefix("127.0.0.9/32")}, metrics)
	server, err := listen("127.0.0.1:0", nil, time.Minute, connections, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	dial := func(from string, served bool) net.Conn {
		t.Helper()
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		c, err := d.Dial("tcp", server.listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		_, _ = io.WriteString(c, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
		line, err := bufio.NewReader(c).ReadString('\n')
		if got := strings.HasPrefix(line, "HTTP/1.1 200"); got != served {
			t.Errorf("from %s: served is %v, %q %v", from, got, line, err)
		}
		return c
	}
	open := func(n int64) {
		t.Helper()
		until(t, "the closed connection counts no more", func() bool { return connections.open.Load() == n })
	}
	dial("127.0.0.2", true)
	first := dial("127.0.0.2", true)
	dial("127.0.0.2", false)
	open(2)
	dial("127.0.0.9", true)
	dial("127.0.0.9", true)
	dial("127.0.0.1", false)
	open(4)
	_ = first.Close()
	open(3)
	dial("127.0.0.9", true)
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "keytrail_http_connections_refused_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			if m.GetCounter().GetValue() != 1 {
				t.Errorf("refused: %v", m)
			}
		}
	}
}

func TestASmallFileLimitBoundsTheConnections(t *testing.T) {
	files := maxFiles()
	if files == 0 {
		t.Fatal("the limit of open files is not known")
	}
	c := newConnections(connectionLimits{all: 1 << 40}, nil, prometheus.NewRegistry())
	if c.all != files/2 || c.perAddress != files/4 {
		t.Errorf("%d connections, %d of one address, with %d files", c.all, c.perAddress, files)
	}
}
