package commands

import (
	"errors"
	"testing"

	"github.com/keytrail/keytrail/domain"
)

// TestPasswordsThatMayNotBeChosenAreRefused with the field and no word of the password.
func TestPasswordsThatMayNotBeChosenAreRefused(t *testing.T) {
	h := New(nil, Options{})
	var refusal *domain.Error
	if _, err := h.hashPassword(t.Context(), "lovelace1815", "ada@example.com", "Ada Lovelace"); !errors.As(err, &refusal) || refusal.Code != "invalid_field" || refusal.Field != "password" {
		t.Error(err)
	}
	if phc, err := h.hashPassword(t.Context(), "tangent lamp orbit", "ada@example.com"); err != nil || len(phc) < 90 {
		t.Error(len(phc), err)
	}
}
