package commands_test

import (
	"errors"
	"testing"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
	"github.com/keytrail/keytrail/internal/token"
)

// A log-in that was under way while all sessions of its user ended begins none, be it that they had
// ended at the same moment before.
func TestAUserIsRecognisedAnewAtTheEnd(t *testing.T) {
	d := newDoor(t, eventstoretest.New(t))
	issuer, err := token.NewIssuer([32]byte{1}, [32]byte{2}, "")
	if err != nil {
		t.Fatal(err)
	}
	h := commands.New(d.ledger, commands.Options{Tokens: issuer, People: d.store})
	ada := d.user("ada@example.com", "")
	for range 2 {
		before, err := d.store.User(ada)
		if err != nil {
			t.Fatal(err)
		}
		d.happens(eventstore.UserRef(ada), domain.SessionsRevoked{Header: domain.Header{At: start}})
		if s, err := h.BeginSession(t.Context(), commands.BeginSession{User: before.User, Method: domain.ByPassword}); !errors.Is(err, domain.ErrInvalidCredentials) {
			t.Errorf("it has a session: %v, %v", s.ID, err)
		}
	}
}
