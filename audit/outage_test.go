package audit_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/keytrail/keytrail/audit"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
)

// limitTiles sets how many bytes of tiles the server takes, as a full disk does; -1: any number.
func (n *node) limitTiles(bytes int64) {
	n.t.Helper()
	js := eventstoretest.JetStream(n.t, n.server)
	stream, err := js.Stream(n.t.Context(), "KEYTRAIL_TILES")
	if err != nil {
		n.t.Fatal(err)
	}
	config := stream.CachedInfo().Config
	config.MaxBytes = bytes
	if _, err := js.UpdateStream(n.t.Context(), config); err != nil {
		n.t.Fatal(err)
	}
}

// Without room for tiles nothing is signed, which is told and is no fork; with room, all is.
func TestSigningGoesOnWhenThereIsRoomAgain(t *testing.T) {
	n := newNode(t, eventstoretest.Server(t))
	n.events(300)
	s := n.sign()
	before := n.signedUpTo(eventstore.Events)
	n.limitTiles(1)
	n.events(300)
	until(t, "a warning", func() bool { return strings.Contains(n.logged.String(), "no checkpoint could be signed") })
	st := s.Status()[eventstore.Events]
	if st.SignedSize != before.Size || st.Size <= st.SignedSize || st.Fork != "" {
		t.Errorf("without room: %+v", st)
	}
	if err := n.proveAll(before); err != nil {
		t.Errorf("what was signed before: %v", err)
	}
	n.limitTiles(-1)
	n.check(eventstore.Events, n.signedUpTo(eventstore.Events))
	if strings.Contains(n.logged.String(), "level=ERROR") {
		t.Errorf("%s", n.logged)
	}
}

// A process that ended between the checkpoint and the second place goes on with the checkpoint.
func TestACheckpointThatMissedTheSecondPlaceIsNoFork(t *testing.T) {
	n := newNode(t, eventstoretest.Server(t))
	n.events(300)
	n.sign()
	n.signedUpTo(eventstore.Events)
	n.stop()
	file := filepath.Join(n.dir, "events")
	older, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	n.events(300)
	n.sign()
	last := n.signedUpTo(eventstore.Events)
	n.stop()
	if err := os.WriteFile(file, older, 0o600); err != nil {
		t.Fatal(err)
	}
	n.sign()
	until(t, "the last checkpoint in the second place", func() bool {
		text, err := os.ReadFile(file)
		return err == nil && strings.Contains(string(text), fmt.Sprintf(`\n%d\n`, last.Size))
	})
	n.events(1)
	n.check(eventstore.Events, n.signedUpTo(eventstore.Events))
	if n.logged.String() != "" {
		t.Errorf("%s", n.logged)
	}
}

// A deafConn loses what the server says after a message to a subject that ends with .checkpoint
// was sent, and the connection with it.
type deafConn struct {
	net.Conn
	armed *atomic.Bool
	deaf  atomic.Bool
}

func (c *deafConn) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte("PUB keytrail.tiles.")) && bytes.Contains(b, []byte(".checkpoint ")) && c.armed.CompareAndSwap(true, false) {
		c.deaf.Store(true)
	}
	return c.Conn.Write(b)
}

func (c *deafConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.deaf.Load() {
		return 0, io.EOF
	}
	return n, err
}

// A deafDialer makes connections that are deaf once after armed was set.
type deafDialer struct{ armed atomic.Bool }

func (d *deafDialer) Dial(network, address string) (net.Conn, error) {
	c, err := net.Dial(network, address)
	return &deafConn{Conn: c, armed: &d.armed}, err
}

// A checkpoint whose acknowledgement is lost is published once, and the next follows it.
func TestALostAcknowledgementOfACheckpointIsNoFork(t *testing.T) {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	open := func(o ...nats.Option) (*node, *nats.Conn) {
		nc, err := nats.Connect(s.ClientURL(), append(o, nats.MaxReconnects(-1), nats.ReconnectWait(time.Millisecond))...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		ledger, err := eventstore.Open(t.Context(), nc, eventstore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return newNodeOf(t, ledger, audit.NewKeys([32]byte{1})), nc
	}
	var d deafDialer
	n, nc := open(nats.SetCustomDialer(&d))
	writer, _ := open()
	signer := n.sign()
	for range 5 {
		d.armed.Store(true)
		writer.events(100)
		writer.check(eventstore.Events, writer.signedUpTo(eventstore.Events))
		until(t, "a lost acknowledgement", func() bool { return !d.armed.Load() })
	}
	until(t, "a signer that goes on", func() bool { st := signer.Status()[eventstore.Events]; return st.SignedSize == st.Size })
	if nc.Stats().Reconnects < 5 || signer.Status()[eventstore.Events].Fork != "" || strings.Contains(n.logged.String(), "level=ERROR") {
		t.Errorf("%d connections were lost: %+v\n%s", nc.Stats().Reconnects, signer.Status(), n.logged)
	}
}
