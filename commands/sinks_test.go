package commands_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
)

var hook = domain.SinkDefinition{Name: "hook", Type: domain.SinkWebhook, URL: "https://siem.example.com/in"}

// failing is the ledger whose appends fail once, after or before they took effect.
type failing struct {
	commands.EventLog
	after bool
	once  sync.Once
}

func (f *failing) Append(ctx context.Context, ref eventstore.Ref, p eventstore.Position, c eventstore.Command, e domain.Event) (at eventstore.Position, err error) {
	f.once.Do(func() {
		if f.after {
			_, _ = f.EventLog.Append(ctx, ref, p, c, e)
		}
		err = io.ErrUnexpectedEOF
	})
	if err != nil {
		return 0, err
	}
	return f.EventLog.Append(ctx, ref, p, c, e)
}

// An append that fails, before or after it took effect, makes one sink, and its secret is answered.
func TestASinksSecretSurvivesALostAcknowledgement(t *testing.T) {
	for _, after := range []bool{false, true} {
		l := eventstoretest.New(t)
		h := commands.New(&failing{EventLog: l, after: after}, commands.Options{})
		r, err := h.CreateSink(t.Context(), commands.CreateSink{Request: commands.Request{By: domain.System}, Org: domain.Installation, Definition: hook})
		if err != nil || r.Secret.Reveal() == "" || r.Replayed {
			t.Fatalf("after %t: %+v, %v", after, r, err)
		}
		c, err := h.OpenCredentials(&r.Sink)
		if err != nil || c.Signing[0].Text().Reveal() != r.Secret.Reveal() {
			t.Errorf("after %t: another secret is kept, %v", after, err)
		}
		if end, err := l.End(t.Context(), eventstore.Events); end != 1 || err != nil {
			t.Errorf("after %t: %d events, %v", after, end, err)
		}
	}
}

// Of requests with one Idempotency-Key that race, one has the secret.
func TestRacingCreatesOfASinkShowOneSecret(t *testing.T) {
	l := eventstoretest.New(t)
	handlers := []*commands.Handler{commands.New(l, commands.Options{SinkKey: [32]byte{1}}), commands.New(l, commands.Options{SinkKey: [32]byte{1}})}
	var mu sync.Mutex
	var secrets []string
	var race sync.WaitGroup
	for i := range 8 {
		race.Go(func() {
			r, err := handlers[i%2].CreateSink(t.Context(), commands.CreateSink{Request: commands.Request{By: domain.System, CommandID: "once", Fingerprint: "f"}, Org: domain.Installation, Definition: hook})
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if text := r.Secret.Reveal(); text != "" {
				secrets = append(secrets, text)
			}
		})
	}
	race.Wait()
	if end, err := l.End(t.Context(), eventstore.Events); end != 1 || err != nil || len(secrets) > 1 {
		t.Errorf("%d events, %d secrets, %v", end, len(secrets), err)
	}
}

func TestCredentialsOfASinkNeedTheKeyring(t *testing.T) {
	l := eventstoretest.New(t)
	first, other := commands.New(l, commands.Options{SinkKey: [32]byte{1}}), commands.New(l, commands.Options{SinkKey: [32]byte{2}})
	by := commands.Request{By: domain.System}
	one, err := first.CreateSink(t.Context(), commands.CreateSink{Request: by, Org: domain.Installation, Definition: hook, Settings: json.RawMessage(`{"headers":{"X-A":"b"}}`)})
	if err != nil {
		t.Fatal(err)
	}
	two, err := first.CreateSink(t.Context(), commands.CreateSink{Request: by, Org: domain.Installation, Definition: hook})
	if err != nil {
		t.Fatal(err)
	}
	if c, err := first.OpenCredentials(&one.Sink); err != nil || c.Headers["X-A"] != "b" {
		t.Errorf("%d headers, %v", len(c.Headers), err)
	}
	if _, err := other.OpenCredentials(&one.Sink); !errors.Is(err, domain.ErrSinkSealed) {
		t.Errorf("another keyring: %v", err)
	}
	swapped := one.Sink
	swapped.Sealed = two.Sink.Sealed
	if _, err := first.OpenCredentials(&swapped); !errors.Is(err, domain.ErrSinkSealed) {
		t.Errorf("what was sealed for another sink: %v", err)
	}
	name := "renamed"
	if _, err := other.UpdateSink(t.Context(), commands.UpdateSink{Request: by, Org: domain.Installation, Sink: one.Sink.ID, Name: &name}); !errors.Is(err, domain.ErrSinkSealed) {
		t.Errorf("an update with another keyring: %v", err)
	}
	if _, err := other.DeleteSink(t.Context(), commands.ChangeSink{Request: by, Org: domain.Installation, Sink: one.Sink.ID}); err != nil {
		t.Errorf("deleting with another keyring: %v", err)
	}
}

// What the engine tells of a sink is told once, and not of one that is deleted.
func TestWhatBecomesOfASinkIsToldOnce(t *testing.T) {
	l := eventstoretest.New(t)
	h := commands.New(l, commands.Options{})
	by := commands.Request{By: domain.System}
	r, err := h.CreateSink(t.Context(), commands.CreateSink{Request: by, Org: domain.Installation, Definition: hook})
	if err != nil {
		t.Fatal(err)
	}
	id := r.Sink.ID
	if r, err = h.ReplaySink(t.Context(), commands.ReplaySink{Request: by, Org: domain.Installation, Sink: id, SinkReplayRange: domain.SinkReplayRange{DeadLetters: true}}); err != nil || r.Sink.Replay.Number != 1 {
		t.Fatal(r, err)
	}
	tell := func() error {
		return errors.Join(
			h.NoteSinkGap(t.Context(), domain.Installation, id, domain.SinkSpan{Stream: "uses", From: 1, To: 2}),
			h.EndSinkReplay(t.Context(), domain.Installation, id, 1, domain.SinkReplayResult{Delivered: 1}),
			h.StopSink(t.Context(), domain.Installation, id, domain.PausedGone, strings.Repeat("ü", 2000)))
	}
	for want := range 2 {
		if err := tell(); err != nil {
			t.Fatal(want, err)
		}
		if end, err := l.End(t.Context(), eventstore.Events); end != 5 || err != nil {
			t.Errorf("%d events, %v", end, err)
		}
	}
	r, err = h.ResumeSink(t.Context(), commands.ChangeSink{Request: by, Org: domain.Installation, Sink: id})
	if err != nil || r.Sink.Paused() || r.Sink.LastGap.Reason != domain.GapPruned || r.Sink.Replay != nil {
		t.Errorf("%+v, %v", r.Sink, err)
	}
	if _, err = h.DeleteSink(t.Context(), commands.ChangeSink{Request: by, Org: domain.Installation, Sink: id}); err != nil {
		t.Fatal(err)
	}
	if err := tell(); err != nil {
		t.Errorf("of a deleted sink: %v", err)
	}
}
