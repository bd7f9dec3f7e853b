package api

import (
	"testing"
	"time"
)

// SetFollowing shortens how often a follower's key is checked, and how often it is said that
// there is nothing new, until the test ends.
func SetFollowing(t *testing.T, check, say time.Duration) {
	before, beforeSaying := recheckEvery, keepAliveEvery
	t.Cleanup(func() { recheckEvery, keepAliveEvery = before, beforeSaying })
	recheckEvery, keepAliveEvery = check, say
}

// SetWaits makes answers wait less for the read model until the test ends.
func SetWaits(t *testing.T, d time.Duration) {
	wait, rotate := waitTimeout, rotateTimeout
	t.Cleanup(func() { waitTimeout, rotateTimeout = wait, rotate })
	waitTimeout, rotateTimeout = d, d
}

// SetExportAtOnce makes an export write so many keys at a time until the test ends.
func SetExportAtOnce(t *testing.T, n int) {
	before := exportAtOnce
	t.Cleanup(func() { exportAtOnce = before })
	exportAtOnce = n
}

// SetScrapeEvery makes metrics be gathered so often at most until the test ends.
func SetScrapeEvery(t *testing.T, d time.Duration) {
	before := scrapeEvery
	t.Cleanup(func() { scrapeEvery = before })
	scrapeEvery = d
}

// SetBulkSlots bounds how many parts of bulk requests an API that is made until the test ends
// carries out at once.
func SetBulkSlots(t *testing.T, n int) {
	before := bulkSlots
	t.Cleanup(func() { bulkSlots = before })
	bulkSlots = n
}
