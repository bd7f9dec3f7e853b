package projections

import (
	"bytes"
	"runtime"
	"testing"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
)

// What is stray is judged and deleted while no load puts another Badger, in which other tables
// count, into the place of this one.
func TestStrayTablesAreNotDroppedDuringALoad(t *testing.T) {
	l := eventstoretest.New(t)
	e := openIndexed(t, t.TempDir()).s.engines[eventstore.Events]
	stray := append(tablePrefix(77), 'x')
	if err := e.db.Update(func(tx *badger.Txn) error { return tx.Set(stray, nil) }); err != nil {
		t.Fatal(err)
	}
	found := func() error {
		return e.db.View(func(tx *badger.Txn) error { _, err := tx.Get(stray); return err })
	}
	e.loading.Lock()
	done := make(chan error, 1)
	go func() { done <- e.loadBehind(t.Context(), l) }()
	for !waitsInLoadEmpty() && len(done) == 0 {
		runtime.Gosched()
	}
	if err := found(); err != nil {
		t.Errorf("a stray row during a load: %v", err)
	}
	e.loading.Unlock()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := found(); err != badger.ErrKeyNotFound {
		t.Errorf("a stray row after a load: %v", err)
	}
}

// waitsInLoadEmpty reports whether a goroutine waits for a lock there.
func waitsInLoadEmpty() bool {
	stacks := make([]byte, 1<<20)
	for _, stack := range bytes.Split(stacks[:runtime.Stack(stacks, true)], []byte("\n\n")) {
		if bytes.Contains(stack, []byte("sync.Mutex.Lock")) && bytes.Contains(stack, []byte(").loadBehind(")) {
			return true
		}
	}
	return false
}
