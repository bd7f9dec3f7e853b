package projections

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/keytrail/keytrail/domain"
)

// A cache may forget, but gives nothing other than what was put in last.
func TestTheCacheGivesWhatWasPutInLast(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newCache(0)
		model := map[domain.Digest][]byte{}
		steps := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) [3]int {
			return [3]int{rapid.IntRange(0, 400).Draw(t, "digest"), rapid.IntRange(0, 9).Draw(t, "what"), rapid.IntRange(0, 900).Draw(t, "size")}
		}), 1, 600).Draw(t, "steps")
		for i, step := range steps {
			d := crowded(step[0])
			switch what := step[1]; {
			case what == 0:
				c.forget(0, []domain.Digest{d})
				delete(model, d)
			case what < 5:
				model[d] = bytes.Repeat([]byte{byte(i), byte(i >> 8)}, step[2])
				c.put(0, &d, model[d])
			}
			if row, found := c.find(&d); found && (model[d] == nil || row != string(model[d])) {
				t.Fatalf("step %d: digest %d is found with %d bytes, and has %d", i, step[0], len(row), len(model[d]))
			}
		}
		if c.forgetAll(0); len(c.shards[0].offsets) > 0 {
			t.Fatal("not all is forgotten")
		}
	})
}

// crowded digests share one shard, and some their beginnings.
func crowded(i int) (d domain.Digest) {
	binary.BigEndian.PutUint64(d[:], uint64(i/2))
	d[10] = byte(i % 2)
	return d
}

func TestTheCacheHoldsWhatItHasRoomFor(t *testing.T) {
	const rows, size = 50000, 200
	held := func(bytes uint64) (n int) {
		c := newCache(bytes)
		for i := range rows {
			d := domain.NewSecret(fmt.Sprint(i)).Digest()
			c.put(0, &d, make([]byte, size))
		}
		for i := range rows {
			d := domain.NewSecret(fmt.Sprint(i)).Digest()
			if _, found := c.find(&d); found {
				n++
			}
		}
		return n
	}
	if n := held(16 << 20); n != rows {
		t.Errorf("with 16 MiB it holds %d of %d rows", n, rows)
	}
	const most = 8 << 20 / (size + entryHead)
	if n := held(8 << 20); n < most*7/10 || n > most {
		t.Errorf("with 8 MiB it holds %d rows of %d bytes", n, size)
	}
}

func TestTheCacheRefusesWhatFitsNowhere(t *testing.T) {
	c := newCache(0)
	var d domain.Digest
	c.put(0, &d, make([]byte, chunkSize))
	if _, found := c.find(&d); found {
		t.Error("found")
	}
	c.put(0, &d, make([]byte, chunkSize-entryHead))
	if row, found := c.find(&d); !found || len(row) != chunkSize-entryHead {
		t.Error("the largest row is not found")
	}
}

// What a look-up of an earlier snapshot finds may have changed since.
func TestTheCacheTakesRowsOfTheLatestSnapshotAlone(t *testing.T) {
	c := newCache(0)
	var d domain.Digest
	c.forget(7, nil)
	for snapshot, want := range map[uint64]bool{6: false, 7: true, 8: false} {
		c.forget(7, []domain.Digest{d})
		current := c.put(snapshot, &d, []byte("row"))
		if _, found := c.find(&d); current != want || found != want {
			t.Errorf("of snapshot %d it was put in: %v, found: %v", snapshot, current, found)
		}
	}
}
