package backup_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/keytrail/keytrail/backup"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// filled is a ledger with n organizations and n batches of uses.
func filled(t testing.TB, n int) *eventstore.Ledger {
	t.Helper()
	l := eventstoretest.New(t)
	if _, err := l.PutState(t.Context(), eventstore.Reactions, "checkpoint", 0, []byte("{}")); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		org := domain.NewOrgID(fmt.Sprint(i))
		if _, err := l.Append(t.Context(), eventstore.OrganizationRef(org), 0, eventstore.Command{ID: fmt.Sprint(i)}, domain.OrganizationCreated{ID: org, Name: "Größe", Header: domain.Header{At: noon}}); err != nil {
			t.Fatal(err)
		}
		var b eventstore.UseBatch
		b.Add(domain.NewOrgID("o"), &domain.KeyUsed{Key: domain.NewKeyID(domain.NewOrgID("o"), "k"), Code: domain.UseValid, At: noon}, 0)
		if _, err := l.AppendUses(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

func written(t testing.TB, l *eventstore.Ledger) []byte {
	t.Helper()
	var file bytes.Buffer
	if err := backup.Write(t.Context(), &file, l, "test", noon); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

func messages(t testing.TB, copyTo func(eventstore.Stream, func(*eventstore.Raw) error) error) (all []string) {
	t.Helper()
	for _, s := range eventstore.Streams {
		if err := copyTo(s, func(m *eventstore.Raw) error {
			all = append(all, fmt.Sprintf("%s %d %s %v %s %s", s, m.Position, m.Subject, m.Header, m.Data, m.Stored.UTC()))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// TestAFileHoldsTheLedger restores a file to another server, and compares every message.
func TestAFileHoldsTheLedger(t *testing.T) {
	for _, n := range []int{0, 1, 300} {
		defer backup.SetChunkBytes(10_000)()
		l := filled(t, n)
		file := written(t, l)
		_, summary, err := backup.Verify(bytes.NewReader(file), nil)
		if err != nil || summary.Sides[eventstore.Reactions.String()].Messages != 1 {
			t.Fatalf("%+v: %v", summary, err)
		}
		nc, err := eventstoretest.Server(t).Connect()
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		r, err := backup.Open(bytes.NewReader(file))
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range backup.Before {
			if err := eventstore.RestoreSide(t.Context(), nc, eventstore.Options{}, s, func(handle func(*eventstore.Raw) error) error { return r.Side(s, handle) }); err != nil {
				t.Fatal(err)
			}
		}
		for _, s := range eventstore.Streams {
			if err := eventstore.Restore(t.Context(), nc, eventstore.Options{}, s, summary.Streams[s.String()].Ends(), func(handle func(*eventstore.Raw) error) error { return r.Stream(s, handle) }); err != nil {
				t.Fatal(err)
			}
			if _, err := eventstore.Open(t.Context(), nc, eventstore.Options{Unconfirmed: true}); !errors.Is(err, eventstore.ErrRestoreIncomplete) {
				t.Errorf("a ledger that is being restored is opened: %v", err)
			}
		}
		if err := eventstore.MarkRestored(t.Context(), nc); err != nil {
			t.Fatal(err)
		}
		if _, err := eventstore.Open(t.Context(), nc, eventstore.Options{}); !errors.Is(err, eventstore.ErrRestoreUnconfirmed) {
			t.Errorf("a ledger that nobody confirmed is opened: %v", err)
		}
		if err := eventstore.ConfirmRestored(t.Context(), nc, noon); err != nil {
			t.Fatal(err)
		}
		restored, err := eventstore.Open(t.Context(), nc, eventstore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if state, err := restored.State(t.Context(), eventstore.Reactions, "checkpoint"); err != nil || string(state.Data) != "{}" {
			t.Errorf("how far reactions have come was restored as %q, %v", state.Data, err)
		}
		of := func(l *eventstore.Ledger) []string {
			return messages(t, func(s eventstore.Stream, handle func(*eventstore.Raw) error) error {
				return l.Copy(t.Context(), s, 0, eventstore.Position(n), handle)
			})
		}
		want, got := of(l), of(restored)
		if len(want) != 2*n || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%d messages were restored of %d\n%.500v\n%.500v", len(got), len(want), got, want)
		}
		// What comes next has the next position, and knows what came before.
		org := domain.NewOrgID("next")
		if at, err := restored.Append(t.Context(), eventstore.OrganizationRef(org), 0, eventstore.Command{ID: "next"}, domain.OrganizationCreated{ID: org, Name: "x", Header: domain.Header{At: noon}}); err != nil || at != eventstore.Position(n+1) {
			t.Errorf("the next event is at %d, %v", at, err)
		}
	}
}

// A server that lags behind the end that was asked for is waited for: a back-up never lacks
// its last messages in silence.
func TestACopyGoesToTheEndThatWasAskedFor(t *testing.T) {
	l := filled(t, 3)
	org := domain.NewOrgID("late")
	for s, late := range map[eventstore.Stream]func() error{
		eventstore.Events: func() error {
			_, err := l.Append(t.Context(), eventstore.OrganizationRef(org), 0, eventstore.Command{ID: "late"}, domain.OrganizationCreated{ID: org, Name: "late", Header: domain.Header{At: noon}})
			return err
		},
		eventstore.Uses: func() error {
			var b eventstore.UseBatch
			b.Add(org, &domain.KeyUsed{Key: domain.NewKeyID(org, "k"), Code: domain.UseValid, At: noon}, 0)
			_, err := l.AppendUses(t.Context(), &b)
			return err
		},
	} {
		end, err := l.End(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		var last eventstore.Position
		if err := l.Copy(t.Context(), s, 0, end+1, func(m *eventstore.Raw) error {
			if last = m.Position; last == end {
				return late()
			}
			return nil
		}); err != nil || last != end+1 {
			t.Errorf("%s is copied up to %d of %d: %v", s, last, end+1, err)
		}
	}
}

// TestAGapAtTheBeginningIsKept backs up a ledger whose first uses have aged out.
func TestAGapAtTheBeginningIsKept(t *testing.T) {
	server := eventstoretest.Server(t)
	l := eventstoretest.Open(t, server)
	for range 10 {
		var b eventstore.UseBatch
		b.Add(domain.NewOrgID("o"), &domain.KeyUsed{Key: domain.NewKeyID(domain.NewOrgID("o"), "k"), Code: domain.UseValid, At: noon}, 0)
		if _, err := l.AppendUses(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
	}
	js := eventstoretest.JetStream(t, server)
	stream, err := js.Stream(t.Context(), "KEYTRAIL_USES")
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(t.Context(), jetstream.WithPurgeSequence(7)); err != nil {
		t.Fatal(err)
	}
	_, summary, err := backup.Verify(bytes.NewReader(written(t, l)), nil)
	if want := (eventstore.Ends{First: 7, Last: 10}); err != nil || summary.Streams["uses"].Ends() != want || summary.Streams["uses"].Messages != 4 {
		t.Errorf("%+v, %v", summary, err)
	}
}

// TestADamagedFileIsRefused flips each of many bytes, and cuts the file at many lengths.
func TestADamagedFileIsRefused(t *testing.T) {
	defer backup.SetChunkBytes(2_000)()
	file := written(t, filled(t, 20))
	manifest, summary, err := backup.Verify(bytes.NewReader(file), nil)
	if err != nil {
		t.Fatal(err)
	}
	whole := fmt.Sprint(manifest, summary)
	end := bytes.LastIndex(file, []byte("}\n"))
	for at := 0; at < end; at += 97 {
		if _, _, err := backup.Verify(bytes.NewReader(file[:at]), nil); err == nil {
			t.Errorf("a file cut at %d of %d is taken", at, len(file))
		}
		broken := bytes.Clone(file)
		broken[at] ^= 0x20
		if manifest, summary, err := backup.Verify(bytes.NewReader(broken), nil); err == nil && fmt.Sprint(manifest, summary) != whole {
			t.Errorf("a file that is broken at %d is taken for another one", at)
		}
	}
}
