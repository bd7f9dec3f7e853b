package projections

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// BenchmarkLoadPeople loads users with an address and a membership each, who log in again and again.
// What it holds at most must not grow with them.
func BenchmarkLoadPeople(b *testing.B) {
	for _, c := range []struct{ users, logIns int }{{30_000, 5}, {300_000, 0}, {300_000, 1}} {
		b.Run(fmt.Sprintf("users=%d/log-ins=%d", c.users, c.logIns), func(b *testing.B) {
			for b.Loop() {
				loadPeople(b, c.users, c.logIns)
			}
		})
	}
}

func loadPeople(b *testing.B, users, logIns int) {
	db, err := badger.Open(badgerOptions(b.TempDir(), eventstore.Events, slog.New(slog.DiscardHandler)))
	if err != nil {
		b.Fatal(err)
	}
	defer debug.SetGCPercent(debug.SetGCPercent(loadGCPercent))
	l := newPeopleTable(&Store{peopleCache: newCache(0)}, tableState{db: db}).(loadable).loader()
	var memory runtime.MemStats
	events, most, begun := 0, uint64(0), time.Now()
	add := func(ref eventstore.Ref, e domain.Event) {
		if events++; events%50_000 == 0 {
			runtime.ReadMemStats(&memory)
			most = max(most, memory.HeapInuse)
		}
		r := eventstore.Record{Position: eventstore.Position(events), Org: ref.Org, Subject: ref.ID, Event: e}
		if err := l.add(eventstore.Batch{Records: []eventstore.Record{r}}); err != nil {
			b.Fatal(err)
		}
	}
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for i := range users {
		id, org, email := domain.NewUserID(fmt.Sprint(i)), domain.NewOrgID(fmt.Sprint(i%10_000)), fmt.Sprintf("user%d@example.com", i)
		h := domain.Header{At: at, By: "key_0123456789"}
		add(eventstore.AddressRef(email), domain.AddressClaimed{Email: email, User: id, Header: h})
		add(eventstore.UserRef(id), domain.UserCreated{ID: id, Email: email, Name: "A Name Of Theirs", Password: "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$RdescudvJCsgt3ub+b4vTTPFb0XqXQ8wkzKVxZr8T8c", Header: h})
		add(eventstore.MembersRef(org), domain.MembershipCreated{User: id, Role: domain.RoleMember, Header: h})
	}
	for n := range logIns {
		for i := range users {
			id, org := domain.NewUserID(fmt.Sprint(i)), domain.NewOrgID(fmt.Sprint(i%10_000))
			now := at.Add(time.Duration(n) * domain.SessionTTL)
			add(eventstore.SessionsRef(org, id), domain.SessionCreated{ID: domain.NewSessionID(fmt.Sprint(n, i)), User: id, Org: org, Method: domain.ByPassword, IP: "192.0.2.1",
				UserAgent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", ExpiresAt: now.Add(domain.SessionTTL), Header: domain.Header{At: now, By: string(id)}})
		}
	}
	b.ReportMetric(float64(time.Since(begun).Nanoseconds())/float64(events), "ns/event")
	b.ReportMetric(float64(most)/(1<<20), "MB")
	if err := errors.Join(l.close(), db.Close()); err != nil {
		b.Fatal(err)
	}
}
