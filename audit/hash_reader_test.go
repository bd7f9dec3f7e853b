package audit_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/keytrail/keytrail/audit"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
)

// signedNode is a node with signed events, which signs no more.
func signedNode(t *testing.T, events int) (*node, *audit.Signer, audit.Checkpoint) {
	t.Helper()
	n := newNode(t, eventstoretest.Server(t))
	n.events(events)
	s := n.sign()
	c := n.signedUpTo(eventstore.Events)
	n.stop()
	return n, s, c
}

// proveAll proves each leaf of c's tree.
func (n *node) proveAll(c audit.Checkpoint) error {
	for i := range c.Size {
		if _, err := n.log.Inclusion(n.t.Context(), c, i, c.Size); err != nil {
			return fmt.Errorf("leaf %d: %w", i, err)
		}
	}
	return nil
}

// damage puts something else in the place of the tile 0.0, and gives what mends it.
func (n *node) damage() (mend func()) {
	n.t.Helper()
	ref := eventstore.NewTileRef(1, eventstore.Events, 0, 0)
	good, err := n.ledger.Tile(n.t.Context(), ref)
	if err != nil {
		n.t.Fatal(err)
	}
	put := func(after eventstore.Position, data []byte) eventstore.Position {
		at, err := n.ledger.PutTile(n.t.Context(), ref, after, data)
		if err != nil {
			n.t.Fatal(err)
		}
		return at
	}
	damaged := put(good.Revision, bytes.Repeat([]byte{1}, len(good.Data)))
	return func() { put(damaged, good.Data) }
}

// Many proofs read each full tile once.
func TestProofsReadAFullTileOnce(t *testing.T) {
	n, _, c := signedNode(t, 600)
	nc, err := n.server.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	asked, err := nc.SubscribeSync("$JS.API.STREAM.MSG.GET.KEYTRAIL_TILES")
	if err == nil {
		err = nc.Flush()
	}
	if err == nil {
		err = n.proveAll(c)
	}
	if err == nil {
		err = nc.Flush() // what was asked for before has come
	}
	if err != nil {
		t.Fatal(err)
	}
	full := 0
	for waiting, _, _ := asked.Pending(); waiting > 0; waiting-- {
		m, err := asked.NextMsg(time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(m.Data, []byte(".events.0.0")) || bytes.Contains(m.Data, []byte(".events.0.1")) {
			full++
		}
	}
	if full != 2 {
		t.Errorf("two tiles were read %d times", full)
	}
}

// A damaged tile proves nothing, and is not kept: once it is mended, it proves all.
func TestADamagedTileIsNotKept(t *testing.T) {
	n, _, c := signedNode(t, 300)
	mend := n.damage()
	for range 2 {
		if n.proveAll(c) == nil {
			t.Fatal("a damaged tile proved something")
		}
	}
	mend()
	if err := n.proveAll(c); err != nil {
		t.Error(err)
	}
}

// The scrub reads the tiles that the ledger has, not those in memory.
func TestTilesInMemoryHideNoDamage(t *testing.T) {
	n, s, c := signedNode(t, 300)
	if err := n.proveAll(c); err != nil {
		t.Fatal(err)
	}
	n.damage()
	if err := n.proveAll(c); err != nil {
		t.Errorf("with the tile in memory: %v", err)
	}
	if err := s.Scrub(t.Context(), eventstore.Events); err == nil {
		t.Error("the scrub found no damage")
	}
}
