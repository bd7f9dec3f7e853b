package commands_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// A noticeIndex gives some keys two at a time, as they were when it was made.
type noticeIndex []commands.UsedKey

func (i noticeIndex) ActiveKeys(keyspace, cursor string, _ int, _ time.Time) (page []commands.UsedKey, next string, err error) {
	from := 0
	_, _ = fmt.Sscan(cursor, &from)
	for _, k := range i {
		if k.Keyspace == keyspace {
			page = append(page, k)
		}
	}
	page = page[min(from, len(page)):]
	if len(page) > 2 {
		page, next = page[:2], fmt.Sprint(from+2)
	}
	return page, next, nil
}

// notices are how many there are of each type in a key's history.
func (f fixture) notices(id domain.KeyID) (expiring, idle int) {
	f.t.Helper()
	if _, err := f.ledger.Load(f.t.Context(), eventstore.KeyRef(f.org, id), 0, func(r eventstore.Record) {
		switch r.Event.(type) {
		case domain.KeyExpiring:
			expiring++
		case domain.KeyIdle:
			idle++
		}
	}); err != nil {
		f.t.Fatal(err)
	}
	return expiring, idle
}

// Three nodes that go by an old read model write each notice once.
func TestNoticesAreWrittenOnceByManyNodes(t *testing.T) {
	const day = 24 * time.Hour
	f := setUp(t)
	with := domain.Keyspace{Name: "p", KeyspaceDefinition: domain.KeyspaceDefinition{Notices: domain.Notices{ExpiringDays: 7, IdleDays: 30},
		Format: domain.Format{Prefix: "p_", Alphabet: domain.Hex, Length: 32}}}
	o := commands.Options{Keyspaces: bounded{domain.NewKeyspaces([]domain.Keyspace{with})}}
	f.Handler = commands.New(f.ledger.Ledger, o)
	var index noticeIndex
	for range 5 {
		c := f.of("ann")
		c.TTL = domain.Duration(60 * day)
		index = append(index, commands.UsedKey{Key: f.create(c).Key})
	}
	plain := f.create(f.simple())
	index = append(index, commands.UsedKey{Key: plain.Key})
	index[1].LastUsedAt = index[1].CreatedAt.Add(20 * day)
	for _, pass := range []struct {
		ahead                 time.Duration
		expiring, idle, used1 int
	}{{0, 0, 0, 0}, {31 * day, 0, 1, 0}, {20 * day, 0, 1, 0}, {51 * day, 0, 1, 1}, {54 * day, 1, 1, 1}, {0, 1, 1, 1}, {70 * day, 1, 1, 1}} {
		var nodes sync.WaitGroup
		for range 3 {
			nodes.Go(func() { f.Handler.Ahead(pass.ahead).NoticePasses(t.Context(), index, 2) })
		}
		nodes.Wait()
		for i, k := range index[:5] {
			want := pass.idle
			if i == 1 {
				want = pass.used1
			}
			if expiring, idle := f.notices(k.ID); expiring != pass.expiring || idle != want {
				t.Errorf("%s ahead key %d has %d notices of its expiry and %d of idleness, want %d and %d", pass.ahead, i, expiring, idle, pass.expiring, want)
			}
		}
	}
	if expiring, idle := f.notices(plain.Key.ID); expiring+idle > 0 {
		t.Error("a key of a keyspace without notices has some")
	}
}

// A passIndex has a key that is idle, and tells of each pass.
type passIndex struct {
	noticeIndex
	passes chan struct{}
}

func (i passIndex) ActiveKeys(keyspace, cursor string, limit int, now time.Time) ([]commands.UsedKey, string, error) {
	i.passes <- struct{}{}
	return i.noticeIndex.ActiveKeys(keyspace, cursor, limit, now)
}

func TestNoticesAreLookedForUntilTheEnd(t *testing.T) {
	commands.SetNoticeEvery(t, time.Millisecond)
	f := setUp(t)
	with := domain.Keyspace{Name: "p", KeyspaceDefinition: domain.KeyspaceDefinition{Notices: domain.Notices{IdleDays: 1}, Format: domain.Format{Prefix: "p_", Alphabet: domain.Hex, Length: 32}}}
	f.Handler = commands.New(f.ledger, commands.Options{Keyspaces: bounded{domain.NewKeyspaces([]domain.Keyspace{with})}})
	k := f.create(f.of("ann"))
	index := passIndex{noticeIndex{{Key: k.Key}}, make(chan struct{})}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { f.Handler.Ahead(48*time.Hour).WriteNotices(ctx, index); close(done) }()
	for range 3 {
		<-index.passes
	}
	stop()
	for stopped := false; !stopped; {
		select {
		case <-index.passes:
		case <-done:
			stopped = true
		}
	}
	if _, idle := f.notices(k.Key.ID); idle != 1 {
		t.Errorf("it has %d notices", idle)
	}
}
