package audit

import (
	"context"
	"testing"

	"github.com/keytrail/keytrail/eventstore"
)

// SetMaxLeaves makes a pass add fewer leaves until the test ends.
func SetMaxLeaves(t *testing.T, n int) {
	before := maxLeaves
	t.Cleanup(func() { maxLeaves = before })
	maxLeaves = n
}

// Scrub scrubs a stream now.
func (s *Signer) Scrub(ctx context.Context, stream eventstore.Stream) error {
	return s.streams[stream].scrub(ctx)
}
