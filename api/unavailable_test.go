package api_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/keytrail/keytrail/api"
	"github.com/keytrail/keytrail/commands"
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
