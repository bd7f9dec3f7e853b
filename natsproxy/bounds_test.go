package natsproxy_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/natsproxy"
)

// raw is a client that speaks the protocol by hand.
func (f *fixture) raw(t *testing.T, secret string) (net.Conn, *bufio.Reader) {
	t.Helper()
	plain, err := net.Dial("tcp", strings.TrimPrefix(f.url, "tls://"))
	if err != nil {
		t.Fatal(err)
	}
	info := make([]byte, 0, 512)
	for b := make([]byte, 1); !bytes.HasSuffix(info, []byte("\n")); info = append(info, b...) {
		if _, err := plain.Read(b); err != nil {
			t.Fatal(err)
		}
	}
	conn := tls.Client(plain, &tls.Config{RootCAs: f.roots, ServerName: "127.0.0.1"})
	t.Cleanup(func() { conn.Close() })
	if _, err := fmt.Fprintf(conn, "CONNECT {\"pass\":%q}\r\nPING\r\n", secret); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	if line, err := in.ReadString('\n'); line != "PONG\r\n" {
		t.Fatalf("%q, %v", line, err)
	}
	return conn, in
}

const inboxName = "_INBOX.0123456789abcdefghijkl"

// TestASlowClientIsCutOff asks for 20 MB and takes nothing, while another client is served.
func TestASlowClientIsCutOff(t *testing.T) {
	natsproxy.SetWriteTimeout(t, 300*time.Millisecond)
	f := start(t)
	for i := range 200 {
		if _, err := f.streams[orgA].Publish(t.Context(), []string{fmt.Sprint(i)}, [][]byte{make([]byte, 100<<10)}); err != nil {
			t.Fatal(err)
		}
	}
	conn, in := f.raw(t, "secret of A")
	fmt.Fprintf(conn, "SUB %s 1\r\nPUB $JS.API.CONSUMER.MSG.NEXT.%s.%s %s 3\r\n500\r\n", inboxName, streamOf(orgA), eventstore.SinkConsumer, inboxName)
	f.publish(t, orgB, 0, 10)
	other, _ := f.connect(t, "secret of B")
	take(t, consumer(t, other, streamOf(orgB), eventstore.SinkConsumer), 10)
	f.connections(t, 1)
	if n, err := io.Copy(io.Discard, in); n >= 20_000_000 {
		t.Errorf("all is sent: %d bytes, %v", n, err)
	}
}

// connections waits until so many clients are served.
func (f *fixture) connections(t *testing.T, want float64) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		families, err := f.metrics.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range families {
			if m.GetName() == "keytrail_nats_connections" && m.GetMetric()[0].GetGauge().GetValue() == want {
				return
			}
		}
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal("still others")
		}
	}
}

// TestAFloodReachesNobodyElse sends acknowledgements and requests without an end, while others read
// and the service writes.
func TestAFloodReachesNobodyElse(t *testing.T) {
	f := start(t)
	conn, in := f.raw(t, "secret of A")
	go io.Copy(io.Discard, in)
	stop := make(chan struct{})
	defer close(stop)
	flood := bytes.Repeat(fmt.Appendf(nil, "PUB $JS.ACK.%[1]s.%[2]s.1.1.1.1.0 4\r\n+ACK\r\nPUB $JS.API.CONSUMER.INFO.%[1]s.%[2]s %[3]s 0\r\n\r\n", streamOf(orgA), eventstore.SinkConsumer, inboxName), 100)
	go func() {
		for {
			select {
			case <-stop:
				return
			default:
				if _, err := conn.Write(flood); err != nil {
					return
				}
			}
		}
	}()
	nc, _ := f.connect(t, "secret of B")
	c := consumer(t, nc, streamOf(orgB), eventstore.SinkConsumer)
	var at eventstore.Position
	for i := range 20 {
		f.publish(t, orgB, 10*i, 10*i+10)
		take(t, c, 10)
		name := fmt.Sprint("organization ", i)
		var e domain.Event = domain.OrganizationUpdated{Name: &name, Header: domain.Header{At: time.Now()}}
		if i == 0 {
			e = domain.OrganizationCreated{ID: orgA, Name: name, Header: domain.Header{At: time.Now()}}
		}
		var err error
		if at, err = f.ledger.Append(t.Context(), eventstore.OrganizationRef(orgA), at, eventstore.Command{}, e); err != nil {
			t.Fatal(err)
		}
	}
}

func TestConnectionsAreLimited(t *testing.T) {
	f := start(t)
	address := strings.TrimPrefix(f.url, "tls://")
	for i := range 17 { // without a key, from one address
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Read(make([]byte, 1)); (err == nil) != (i < 16) {
			t.Fatalf("connection %d: %v", i, err)
		}
		if i == 16 {
			break
		}
	}
	f = start(t)
	for range 64 {
		f.connect(t, "secret of A")
	}
	if _, _, err := f.dial("secret of A"); !errors.Is(err, nats.ErrMaxAccountConnectionsExceeded) {
		t.Error(err)
	}
	f.connect(t, "secret of B")
}

func TestSubscriptionsAreLimited(t *testing.T) {
	f := start(t)
	conn, in := f.raw(t, "secret of A")
	for i := range 65 {
		fmt.Fprintf(conn, "SUB %s %d\r\n", inboxName, i)
	}
	if line, err := in.ReadString('\n'); !strings.Contains(line, "maximum subscriptions") {
		t.Errorf("%q, %v", line, err)
	}
	if _, err := in.ReadByte(); err == nil {
		t.Error("it goes on")
	}
}

// TestWhatIsNoCommandEndsTheConnection sends what clients do not.
func TestWhatIsNoCommandEndsTheConnection(t *testing.T) {
	f := start(t)
	for _, text := range []string{"CONNECT {}\r\n", "INFO {}\r\n", "MSG a 1 0\r\n\r\n", "RS+ $G a\r\n", "A+ x\r\n", "\r\n", "PUB\r\n", "PUB a b c d\r\n", "PUB a -1\r\n", "PUB a 4097\r\n",
		"PUB a 99999999999999999999\r\n", "PUB a 2\r\nabc\r\n", "SUB a\r\n", "SUB a b c d\r\n", "SUB " + inboxName + " $\r\n", "UNSUB\r\n", "UNSUB 1 -1\r\n",
		"PING x\r\n", "HPUB a 1\r\n", strings.Repeat("x", 5000) + "\r\n"} {
		conn, in := f.raw(t, "secret of A")
		fmt.Fprint(conn, text)
		if _, err := io.Copy(io.Discard, in); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%.20q: %v", text, err)
		}
		conn.Close()
	}
}
