package projections

import "testing"

// SetMaxGathered forces a listing to sort in memory, or to walk, until the test ends.
func SetMaxGathered(t *testing.T, n int) {
	before := maxGathered
	t.Cleanup(func() { maxGathered = before })
	maxGathered = n
}
