package projections_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

func (o *town) backoff(id domain.BackoffID) int {
	o.Helper()
	b, err := o.store.Backoff(id)
	if err != nil {
		o.Fatal(err)
	}
	return b.Failures
}

// TestBackOffIsInTheReadModel: what events say of wrong passwords is added up; a log-in makes an address
// a known one and ends its back-off there, and only there.
func TestBackOffIsInTheReadModel(t *testing.T) {
	o := newTown(t)
	known := domain.OfKnown(ada, "2001:db8::")
	for range 2 {
		e := domain.LogInRefused{User: ada, Count: 7, First: noon, Header: at, Addresses: []domain.AddressFailures{{IP: "192.0.2.1", Count: 4}, {IP: "2001:db8::", Known: true, Count: 3}}}
		o.happens(eventstore.LogInsRef(ada), e)
	}
	o.happens(eventstore.LogInsRef(""), domain.LogInRefused{Count: 5, First: noon, Header: at, Accounts: []domain.AccountFailures{{Account: "hash", Count: 5}}})
	for id, want := range map[domain.BackoffID]int{domain.OfAccount(string(ada)): 8, domain.OfAddress("192.0.2.1"): 8, known: 6, domain.OfAccount("hash"): 5, domain.OfAddress("2001:db8::"): 0} {
		if got := o.backoff(id); got != want {
			t.Errorf("%s: %d", id, got)
		}
	}
	session := domain.SessionCreated{ID: first, User: ada, Method: domain.BySSO, IP: "2001:db8::7", ExpiresAt: noon.Add(time.Hour), Header: at}
	o.happens(eventstore.SessionsRef("", ada), session)
	if k, err := o.store.KnownAddresses(ada); err != nil || len(k) != 0 {
		t.Error("a provider makes an address known", k, err)
	}
	session.ID, session.Method = domain.NewSessionID("second"), domain.ByPassword
	o.happens(eventstore.SessionsRef("", ada), session)
	if k, err := o.store.KnownAddresses(ada); err != nil || len(k) != 1 || k[0] != "2001:db8::" {
		t.Error(k, err)
	}
	if o.backoff(known) != 0 || o.backoff(domain.OfAccount(string(ada))) != 8 {
		t.Error("the log-in ended another back-off than its own")
	}
	o.happens(eventstore.UserRef(ada), domain.UserCreated{ID: ada, Email: "ada@example.com", Header: at})
	o.happens(eventstore.UserRef(ada), domain.UserRemoved{Email: "ada@example.com", Header: at})
	if k, err := o.store.KnownAddresses(ada); err != nil || len(k) != 0 {
		t.Error("addresses of a removed user are kept", k, err)
	}
}

// TestBackOffIsForgotten a day after the last failure, row and all, and alike however the events
// come in.
func TestBackOffIsForgotten(t *testing.T) {
	var records []eventstore.Record
	for hour := range 100 {
		now := noon.Add(time.Duration(hour) * time.Hour)
		e := domain.LogInRefused{Count: 3, First: now, Header: domain.Header{At: now}, Addresses: []domain.AddressFailures{{IP: "192.0.2.1", Count: 3}},
			Accounts: []domain.AccountFailures{{Account: fmt.Sprint("a", hour), Count: 2}, {Account: "each", Count: 1}}}
		records = append(records, eventstore.Record{Position: eventstore.Position(hour + 1), Stored: now, Event: e})
	}
	s := applied(t, records, 1)
	same(t, "singly and in one batch", dump(t, s), dump(t, applied(t, records, len(records))))
	for hour := range 100 {
		b, err := s.Backoff(domain.OfAccount(fmt.Sprint("a", hour)))
		if want := map[bool]int{true: 2}[hour > 99-24]; err != nil || b.Failures != want {
			t.Errorf("hour %d: %v, %v", hour, b, err)
		}
	}
	if b, err := s.Backoff(domain.OfAccount("each")); err != nil || b.Failures != 100 {
		t.Error("an attack that goes on is forgotten", b, err)
	}
	left := dump(t, s)
	maps.DeleteFunc(left, func(row, _ string) bool { return !strings.HasPrefix(row, "log_ins ") })
	if len(left) > 1+24+2+3*24 {
		t.Errorf("%d rows are left", len(left))
	}
}
