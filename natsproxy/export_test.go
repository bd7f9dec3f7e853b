package natsproxy

import (
	"testing"
	"time"
)

// SetWriteTimeout sets how long a client may take to receive, while the test runs.
func SetWriteTimeout(t *testing.T, d time.Duration) {
	before := writeTimeout
	t.Cleanup(func() { writeTimeout = before })
	writeTimeout = d
}
