package audit

import (
	"testing"

	"golang.org/x/mod/sumdb/tlog"
)

func TestATileCacheHasAtMostItsTiles(t *testing.T) {
	c := newTileCache(2)
	for i := range byte(9) {
		c.add(tlog.Hash{i}, []byte{i})
		if got, ok := c.get(tlog.Hash{i}); !ok || got[0] != i || len(c.tiles) > 2 {
			t.Errorf("after %d tiles it has %d, and of the last one %v", i+1, len(c.tiles), got)
		}
	}
}
