package audit_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
)

// copyTo puts n's ledger, with its tiles, onto another server, and lets change have each message.
func (n *node) copyTo(change func(eventstore.Stream, *eventstore.Raw)) *node {
	n.t.Helper()
	server := eventstoretest.Server(n.t)
	nc, err := server.Connect()
	if err != nil {
		n.t.Fatal(err)
	}
	defer nc.Close()
	for _, s := range eventstore.Streams {
		ends, err := n.ledger.Ends(n.t.Context(), s)
		if err != nil {
			n.t.Fatal(err)
		}
		if err := eventstore.Restore(n.t.Context(), nc, eventstore.Options{}, s, ends, func(handle func(*eventstore.Raw) error) error {
			return n.ledger.Copy(n.t.Context(), s, 0, ends.Last, func(m *eventstore.Raw) error { change(s, m); return handle(m) })
		}); err != nil {
			n.t.Fatal(err)
		}
	}
	if err := eventstore.RestoreSide(n.t.Context(), nc, eventstore.Options{}, eventstore.Tiles, func(handle func(*eventstore.Raw) error) error {
		return n.ledger.CopySide(n.t.Context(), eventstore.Tiles, handle)
	}); err != nil {
		n.t.Fatal(err)
	}
	if err := eventstore.MarkRestored(n.t.Context(), nc); err != nil {
		n.t.Fatal(err)
	}
	if err := eventstore.ConfirmRestored(n.t.Context(), nc, time.Now()); err != nil {
		n.t.Fatal(err)
	}
	copied := newNode(n.t, server)
	copied.dir = n.dir
	return copied
}

// An old message that was changed is found by the scrub, and named.
func TestAChangedMessageIsFound(t *testing.T) {
	for name, c := range map[string]struct {
		stream eventstore.Stream
		change func(*eventstore.Raw)
	}{
		"the body of an event":          {eventstore.Events, func(m *eventstore.Raw) { m.Data = bytes.Replace(m.Data, []byte("acme"), []byte("evil"), 1) }},
		"the subject of an event":       {eventstore.Events, func(m *eventstore.Raw) { m.Subject += "x" }},
		"the seed of a message of uses": {eventstore.Uses, func(m *eventstore.Raw) { m.Header["Keytrail-Private"] = []string{"AAAAAAAAAAAAAAAAAAAAAA"} }},
		"the body of a message of uses": {eventstore.Uses, func(m *eventstore.Raw) { m.Data = m.Data[:len(m.Data)-1] }},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, eventstoretest.Server(t))
			n.events(300)
			n.uses(300)
			n.sign()
			n.signedUpTo(eventstore.Events)
			n.signedUpTo(eventstore.Uses)
			n.stop()
			changed := n.copyTo(func(s eventstore.Stream, m *eventstore.Raw) {
				if s == c.stream && m.Position == 70 {
					c.change(m)
				}
			})
			changed.events(1)
			changed.uses(1)
			s := changed.sign()
			if text := changed.forked(s, c.stream); !strings.Contains(text, fmt.Sprintf("position 70 of %s is not the one that was signed", c.stream)) {
				t.Errorf("found: %s", text)
			}
			other := eventstore.Streams[1-c.stream]
			if s.Status()[other].Fork != "" {
				t.Errorf("%s has a fork, too", other)
			}
		})
	}
}

// An unchanged copy has no fork: neither the scrub nor the second place tell of one.
func TestAnUnchangedCopyHasNoFork(t *testing.T) {
	n := newNode(t, eventstoretest.Server(t))
	n.events(300)
	n.uses(300)
	n.sign()
	before := n.signedUpTo(eventstore.Events)
	n.signedUpTo(eventstore.Uses)
	n.stop()
	same := n.copyTo(func(eventstore.Stream, *eventstore.Raw) {})
	same.events(1)
	s := same.sign()
	if c := same.signedUpTo(eventstore.Events); c.Origin != before.Origin {
		t.Errorf("%s, want %s", c.Origin, before.Origin)
	}
	if err := s.Scrub(context.Background(), eventstore.Events); err != nil {
		t.Error(err)
	}
	if err := s.Scrub(context.Background(), eventstore.Uses); err != nil {
		t.Error(err)
	}
}

// Tiles that were damaged, at the edge or within, are computed again: the ledger is what was signed.
func TestDamagedTilesAreMended(t *testing.T) {
	for _, index := range []int64{0, 1} {
		n := newNode(t, eventstoretest.Server(t))
		n.events(400)
		n.sign()
		n.signedUpTo(eventstore.Events)
		n.stop()
		ref := eventstore.NewTileRef(1, eventstore.Events, 0, index)
		good, err := n.ledger.Tile(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.ledger.PutTile(t.Context(), ref, good.Revision, bytes.Repeat([]byte{1}, len(good.Data))); err != nil {
			t.Fatal(err)
		}
		again := newNode(t, n.server)
		again.dir = n.dir
		again.events(1)
		again.sign()
		again.check(eventstore.Events, again.signedUpTo(eventstore.Events))
		until(t, "the tile as it was", func() bool {
			mended, err := n.ledger.Tile(t.Context(), ref)
			return err == nil && bytes.HasPrefix(mended.Data, good.Data)
		})
	}
}
