package api

import (
	"testing"
	"time"
)

// SetFollowing shortens how often a follower's key is checked, and how often it is said that
// there is nothing new, until the test ends.
func SetFollowing(t *testing.T, check, say time.Duration) {
	before, beforeSaying := checkEvery, sayEvery
	t.Cleanup(func() { checkEvery, sayEvery = before, beforeSaying })
	checkEvery, sayEvery = check, say
}
