package api_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/keytrail/keytrail/api"
	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// late is a log that is loaded when there is no time left for an answer.
type late struct{ commands.EventLog }

func (l late) Load(ctx context.Context, ref eventstore.Ref, after eventstore.Position, each func(eventstore.Record)) (eventstore.Position, error) {
	ctx, cancel := context.WithTimeout(ctx, 0)
	defer cancel()
	return l.EventLog.Load(ctx, ref, after, each)
}

// A ledger that does not answer is named as the cause and logged, although it was a
// deadline that ended the wait.
func TestALedgerThatDoesNotAnswerIsNamed(t *testing.T) {
	var said bytes.Buffer
	s := startWith(t, func(l commands.EventLog) commands.EventLog { return late{l} },
		func(o *api.Options) { o.Logger = slog.New(slog.NewTextHandler(&said, nil)) })
	status, header, text := s.do(s.root, "POST", "/v1/organizations", `{"name":"acme"}`)
	if status != 503 || !strings.Contains(text, `"code":"ledger_unavailable"`) || header.Get("Retry-After") == "" {
		t.Errorf("%d %s", status, text)
	}
	if !strings.Contains(said.String(), "request not served") {
		t.Errorf("the log says %q", said.String())
	}
}

// deadlines notes until when each step of a request may take.
type deadlines struct {
	commands.EventLog
	seen *[]time.Time
}

func (l deadlines) Load(ctx context.Context, ref eventstore.Ref, after eventstore.Position, each func(eventstore.Record)) (eventstore.Position, error) {
	l.note(ctx)
	return l.EventLog.Load(ctx, ref, after, each)
}

func (l deadlines) Append(ctx context.Context, ref eventstore.Ref, after eventstore.Position, c eventstore.Command, e domain.Event) (eventstore.Position, error) {
	l.note(ctx)
	return l.EventLog.Append(ctx, ref, after, c, e)
}

func (l deadlines) note(ctx context.Context) {
	at, _ := ctx.Deadline()
	*l.seen = append(*l.seen, at)
}

// A request has one deadline, from its arrival, and not one for each of its steps.
func TestTheStepsOfARequestShareADeadline(t *testing.T) {
	var seen []time.Time
	s := startWith(t, func(l commands.EventLog) commands.EventLog { return deadlines{l, &seen} }, func(*api.Options) {})
	org := s.org("acme")
	seen = nil
	s.create(s.root, `{"org_id":"`+org+`","name":"n"}`)
	if len(seen) < 2 {
		t.Fatalf("%d steps", len(seen))
	}
	for _, at := range seen {
		if at.IsZero() || !at.Equal(seen[0]) {
			t.Errorf("deadlines %v", seen)
		}
	}
}
