package audit

import (
	"context"
	"errors"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
)

// A process that stood still puts its tiles late: it leaves what another one has put meanwhile,
// unless that was never signed.
func TestLateTilesHarmNothing(t *testing.T) {
	l := eventstoretest.New(t)
	writer := func() *tileWriter { return &tileWriter{ledger: l, log: 1, stream: eventstore.Events} }
	leaves := func(texts ...string) *tree {
		grown := new(tree)
		for _, text := range texts {
			grown.add(tlog.RecordHash([]byte(text)), func(tile) {})
		}
		return grown
	}
	still := func(context.Context) error { return nil }
	overtaken := func(context.Context) error { return errOvertaken }
	kept := func() string {
		t.Helper()
		have, err := l.Tile(t.Context(), eventstore.NewTileRef(1, eventstore.Events, 0, 0))
		if err != nil {
			t.Fatal(err)
		}
		return string(have.Data)
	}
	quick, slow := writer(), writer()
	if err := slow.flush(t.Context(), leaves("a"), still); err != nil {
		t.Fatal(err)
	}
	if err := quick.flush(t.Context(), leaves("a", "b", "c"), still); err != nil { // wider, of no known revision
		t.Fatal(err)
	}
	wide := string(leaves("a", "b", "c").edge[0])
	if err := slow.flush(t.Context(), leaves("a", "b"), overtaken); err != nil || kept() != wide {
		t.Errorf("a narrower tile: %v, %d bytes are kept", err, len(kept()))
	}
	if err := writer().flush(t.Context(), leaves("a", "x"), overtaken); !errors.Is(err, errOvertaken) || kept() != wide {
		t.Errorf("another tile in the place of a signed one: %v", err)
	}
	if err := writer().flush(t.Context(), leaves("a", "x"), still); err != nil || kept() != string(leaves("a", "x").edge[0]) {
		t.Errorf("another tile in the place of one that nobody signed: %v", err)
	}
}
