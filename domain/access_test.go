package domain

import (
	"strings"
	"testing"
)

// TestRefusalsOfReachAreOfAccess: what is within no reach of its caller is told to be so, and is on
// record.
func TestRefusalsOfReachAreOfAccess(t *testing.T) {
	for _, e := range Refusals() {
		if strings.Contains(e.Text, "within your reach") && !e.OfAccess() {
			t.Errorf("%s is not of access", e.Code)
		}
		if e.OfAccess() && e.Kind != Forbidden && e.Kind != NotFound {
			t.Errorf("%s is of access", e.Code)
		}
	}
	if !ScopeMissing("keys:read").OfAccess() {
		t.Error("a scope that is missing is not of access")
	}
}
