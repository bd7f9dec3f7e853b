package eventstore_test

import (
	"errors"
	"testing"

	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
)

func TestATileIsReplacedByWhoKnowsItsRevision(t *testing.T) {
	l := eventstoretest.New(t)
	ref := eventstore.NewTileRef(1, eventstore.Events, 0, 3)
	if _, err := l.Tile(t.Context(), ref); !errors.Is(err, eventstore.ErrNoTile) {
		t.Errorf("none yet: %v", err)
	}
	first, err := l.PutTile(t.Context(), ref, 0, []byte("a"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.PutTile(t.Context(), ref, 0, []byte("b")); !errors.Is(err, eventstore.ErrConflict) {
		t.Errorf("put as the first again: %v", err)
	}
	second, err := l.PutTile(t.Context(), ref, first, []byte("ab"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.PutTile(t.Context(), ref, first, []byte("c")); !errors.Is(err, eventstore.ErrConflict) {
		t.Errorf("put on an old revision: %v", err)
	}
	other := eventstore.NewTileRef(1, eventstore.Uses, 0, 3)
	if _, err := l.PutTile(t.Context(), other, 0, []byte("uses")); err != nil {
		t.Errorf("that of the other stream: %v", err)
	}
	got, err := l.Tile(t.Context(), ref)
	if err != nil || string(got.Data) != "ab" || got.Revision != second {
		t.Errorf("%+v, %v", got, err)
	}
}

// Nobody who has the rights of the service alone can take a tile away.
func TestTilesCannotBeDeleted(t *testing.T) {
	s := eventstoretest.Server(t)
	l := eventstoretest.Open(t, s)
	at, err := l.PutTile(t.Context(), eventstore.CheckpointRef(1, eventstore.Uses), 0, []byte("note"))
	if err != nil {
		t.Fatal(err)
	}
	tiles, err := eventstoretest.JetStream(t, s).Stream(t.Context(), "KEYTRAIL_TILES")
	if err != nil {
		t.Fatal(err)
	}
	if err := tiles.DeleteMsg(t.Context(), uint64(at)); err == nil {
		t.Error("a checkpoint was deleted")
	}
	if err := tiles.Purge(t.Context()); err == nil {
		t.Error("the tiles were purged")
	}
	config := tiles.CachedInfo().Config
	config.DenyPurge, config.AllowRollup = false, true
	if _, err := eventstoretest.JetStream(t, s).UpdateStream(t.Context(), config); err == nil {
		t.Error("purging was allowed afterwards")
	}
}

// A copy has each tile at least once, as it was at the end.
func TestTilesAreCopiedWhileTheyAreReplaced(t *testing.T) {
	s := eventstoretest.Server(t)
	l := eventstoretest.Open(t, s)
	put := func(index int64, after eventstore.Position, data string) eventstore.Position {
		t.Helper()
		at, err := l.PutTile(t.Context(), eventstore.NewTileRef(2, eventstore.Events, 0, index), after, []byte(data))
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	var last eventstore.Position
	for i := range int64(10) {
		last = put(i, 0, "narrow")
	}
	copied := map[string]string{}
	if err := l.CopySide(t.Context(), eventstore.Tiles, func(m *eventstore.Raw) error {
		if len(copied) == 0 {
			put(9, last, "wide")
		}
		copied[m.Subject] = string(m.Data)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if len(copied) != 10 || copied["keytrail.tiles.2.events.0.9"] != "wide" {
		t.Errorf("%v", copied)
	}

	nc, err := eventstoretest.Server(t).Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := eventstore.RestoreSide(t.Context(), nc, eventstore.Options{}, eventstore.Tiles, func(handle func(*eventstore.Raw) error) error {
		return l.CopySide(t.Context(), eventstore.Tiles, handle)
	}); err != nil {
		t.Fatal(err)
	}
	n := 0
	if err := eventstore.CopyRestoredSide(t.Context(), nc, eventstore.Tiles, func(m *eventstore.Raw) error {
		if n++; copied[m.Subject] != string(m.Data) {
			t.Errorf("%s was restored as %q", m.Subject, m.Data)
		}
		return nil
	}); err != nil || n != 10 {
		t.Errorf("%d tiles were restored, %v", n, err)
	}
}
