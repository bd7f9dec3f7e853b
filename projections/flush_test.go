package projections_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
	"github.com/keytrail/keytrail/projections"
)

// A meter writes uses of keys of one organization.
type meter struct {
	t      *testing.T
	ledger *eventstore.Ledger
	org    domain.OrgID
	batch  eventstore.UseBatch
}

func newMeter(t *testing.T, l *eventstore.Ledger) *meter {
	return &meter{t: t, ledger: l, org: domain.NewOrgID("metered")}
}

func meteredKey(n int) domain.KeyID { return domain.NewKeyID("", fmt.Sprint("metered", n)) }

func (m *meter) use(key int, at time.Time, windows ...int64) {
	u := domain.KeyUsed{Key: meteredKey(key), Code: domain.UseValid, At: at, Windows: windows}
	if !m.batch.Add(m.org, &u, 0) {
		m.send()
		m.batch.Add(m.org, &u, 0)
	}
}

func (m *meter) send() {
	if _, err := m.ledger.AppendUses(m.t.Context(), &m.batch); err != nil {
		m.t.Fatal(err)
	}
	m.batch.Reset()
}

// The hours of few keys are more rows than Badger takes in a transaction.
func TestALongHistoryIsFlushed(t *testing.T) {
	l := eventstoretest.New(t)
	m := newMeter(t, l)
	const keys, hours = 55, 2000
	for hour := range hours {
		for key := range keys {
			m.use(key, noon.Add(time.Duration(hour)*time.Hour))
		}
	}
	m.send()
	dir := t.TempDir()
	flushAtOnce(t, dir, l)
	s, _ := run(t, dir, l)
	for key := range keys {
		report, err := s.Usage(meteredKey(key), noon, noon.Add(hours*time.Hour), time.Hour)
		if err != nil || len(report.Steps) != hours || report.Totals[domain.UseValid] != hours {
			t.Fatalf("key %d has %d hours, totals %v, %v; want %d of each", key, len(report.Steps), report.Totals, err, hours)
		}
	}
}

// flushAtOnce reads all uses into the buffer and flushes it, as a start with much to read does.
func flushAtOnce(t *testing.T, dir string, l *eventstore.Ledger) {
	t.Helper()
	s, err := projections.Open(dir, projections.Options{})
	if err != nil {
		t.Fatal(err)
	}
	over, err := s.CutOffFlush(t.Context(), l, 1000)
	if err := errors.Join(err, s.Close()); err != nil || !over {
		t.Fatalf("flushed to the end: %v, %v", over, err)
	}
}

// A crash after each transaction of a flush, in the midst of a key's hours and windows and
// between keys, leaves rows from which the next start comes to the same as a fresh build.
func TestAFlushThatWasCutOffCountsNothingTwice(t *testing.T) {
	projections.SetFlushRows(t, 10)
	l := eventstoretest.New(t)
	m := newMeter(t, l)
	some := func(from time.Time) {
		for key := range 4 {
			for i := range 5 * key {
				m.use(key, from.Add(time.Duration(i*7%11)*time.Hour), 1000, 60_000, 3_600_000, 86_400_000)
			}
		}
		m.use(4, from)
		m.send()
	}
	some(noon)
	before, stop := run(t, t.TempDir(), l)
	if len(dump(t, before)) < 30 {
		t.Fatal("too few rows")
	}
	stop()
	for cut := 1; ; cut++ {
		dir := t.TempDir()
		s, err := projections.Open(dir, projections.Options{})
		if err != nil {
			t.Fatal(err)
		}
		over, err := s.CutOffFlush(t.Context(), l, cut)
		if err := errors.Join(err, s.Close()); err != nil {
			t.Fatal(err)
		}
		if cut%3 == 0 {
			some(noon.Add(time.Duration(cut) * 20 * time.Minute)) // read in one go with what the flush had
		}
		s, stop = run(t, dir, l)
		fresh, stopFresh := run(t, t.TempDir(), l)
		same(t, fmt.Sprint("after a flush that was cut off after ", cut), dump(t, s), dump(t, fresh))
		stop()
		stopFresh()
		if over {
			if cut < 10 {
				t.Fatalf("the flush had only %d transactions", cut)
			}
			return
		}
	}
}

// A clock that was ahead for a moment leaves no window and no last use that outlasts it.
func TestAClockThatWasAheadIsOutdone(t *testing.T) {
	l := eventstoretest.New(t)
	m := newMeter(t, l)
	s, _ := run(t, t.TempDir(), l)
	const minute = 60_000
	m.use(1, noon, minute)
	m.use(1, noon.AddDate(1, 0, 0), minute)
	m.send()
	m.use(1, noon.Add(time.Second), minute)
	m.use(1, noon.Add(2*time.Second), minute)
	m.send()
	catchUp(t, s, l)
	fresh, _ := run(t, t.TempDir(), l)
	for _, s := range []*projections.Store{s, fresh} {
		windows, err := s.WindowCounts(meteredKey(1))
		if want := (domain.WindowCount{Window: domain.WindowAt(minute, noon.UnixMilli()), Count: 2}); err != nil || len(windows) != 1 || windows[0] != want {
			t.Errorf("windows %v, %v; want %v", windows, err, want)
		}
		report, err := s.Usage(meteredKey(1), noon, noon.Add(time.Hour), time.Hour)
		if err != nil || !report.LastUsedAt.Equal(noon.Add(2*time.Second)) || report.Totals[domain.UseValid] != 4 || report.Steps[0].Counts[domain.UseValid] != 3 {
			t.Errorf("usage %+v, %v", report, err)
		}
	}
	same(t, "at once and fresh", dump(t, s), dump(t, fresh))
}

// A clock that is set back by less than its slack begins no counter anew.
func TestUsesMayComeOutOfOrder(t *testing.T) {
	l := eventstoretest.New(t)
	m := newMeter(t, l)
	const minute = 60_000
	m.use(1, noon.Add(2*time.Minute), minute)
	m.use(1, noon.Add(2*time.Minute-time.Second), minute)
	m.use(1, noon.Add(2*time.Minute), minute)
	m.send()
	s, _ := run(t, t.TempDir(), l)
	windows, err := s.WindowCounts(meteredKey(1))
	if err != nil || len(windows) != 1 || windows[0].Count != 2 {
		t.Errorf("windows %v, %v", windows, err)
	}
}

// Hours are kept for as long as is said, by the ledger's time and in a rebuild alike, and
// then they go from the disk too.
func TestHoursThatAreOverAreDeleted(t *testing.T) {
	projections.SetFlushRows(t, 10)
	l := eventstoretest.New(t)
	m := newMeter(t, l)
	now := time.Now().UTC().Truncate(time.Hour)
	s, _ := run(t, t.TempDir(), l)
	hours := func(s *projections.Store) (rows, reported int) {
		t.Helper()
		rows, err := s.HourRows()
		if err != nil {
			t.Fatal(err)
		}
		report, err := s.Usage(meteredKey(1), now.AddDate(-2, 0, 0), now.Add(time.Hour), time.Hour)
		if err != nil || report.Totals[domain.UseValid] == 0 {
			t.Fatal(report, err)
		}
		return rows, len(report.Steps)
	}
	m.use(1, now.AddDate(0, 0, -500))
	for day := 60; day >= 0; day-- {
		m.use(1, now.AddDate(0, 0, -day))
	}
	m.send()
	catchUp(t, s, l)
	if rows, reported := hours(s); rows != 60 || reported != 61 {
		t.Fatalf("%d rows, %d hours in the report; want those of 60 days and the present one", rows, reported)
	}

	const kept = 20
	projections.SetUsageKept(t, kept*24*time.Hour)
	if _, reported := hours(s); reported < kept || reported > kept+8 {
		t.Errorf("before they are deleted, %d hours are in the report", reported)
	}
	for range 5 { // each flush deletes a few
		m.use(1, now)
		m.send()
		catchUp(t, s, l)
	}
	rows, reported := hours(s)
	if rows < kept || rows > kept+7 || reported != rows+1 {
		t.Errorf("%d rows, %d hours in the report, of %d days", rows, reported, kept)
	}
	fresh, _ := run(t, t.TempDir(), l)
	same(t, "pruned and fresh", dump(t, s), dump(t, fresh))
}

// Uses age out. A read model that lacks some of those that are gone has caught up when it
// has the others, of which there may be none.
func TestUsesThatAreGoneAreNotWaitedFor(t *testing.T) {
	server := eventstoretest.Server(t)
	l := eventstoretest.Open(t, server)
	m := newMeter(t, l)
	m.use(1, noon)
	m.send()
	dir := t.TempDir()
	_, stop := run(t, dir, l)
	stop()
	m.use(1, noon)
	m.send()
	js := eventstoretest.JetStream(t, server)
	uses, err := js.Stream(t.Context(), "KEYTRAIL_USES")
	if err != nil {
		t.Fatal(err)
	}
	if err := uses.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	s, _ := run(t, dir, l) // waits until it has caught up
	report, err := s.Usage(meteredKey(1), noon, noon.Add(time.Hour), time.Hour)
	if err != nil || report.Totals[domain.UseValid] != 1 {
		t.Errorf("%+v, %v", report, err)
	}
	for _, name := range []string{"usage", "postings", "messages"} {
		rebuilt(t, s, name) // from nothing
	}
	m.use(1, noon)
	m.send()
	catchUp(t, s, l)
	fresh, _ := run(t, t.TempDir(), l)
	same(t, "rebuilt and fresh", dump(t, s), dump(t, fresh))
}
