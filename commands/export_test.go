package commands

import "testing"

// SetMaxRemembered bounds how many requests a handler remembers until the test ends.
func SetMaxRemembered(t *testing.T, n int) {
	before := maxRemembered
	t.Cleanup(func() { maxRemembered = before })
	maxRemembered = n
}

// Remembered is how many requests h knows.
func (h *Handler) Remembered() int {
	h.requests.mu.Lock()
	defer h.requests.mu.Unlock()
	return len(h.requests.known)
}
