package eventstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
	"github.com/prometheus/client_golang/prometheus"
)

// Options of a ledger. The zero value is one replica and uses kept for 400 days.
type Options struct {
	Node         string // the name of this process's machine in the uses that it records
	Replicas     int
	UsesMaxAge   time.Duration
	UsesMaxBytes int64 // 0: no limit
	Unconfirmed  bool  // open a restored ledger that is not confirmed yet, to mend it
	Existing     bool  // an error if there is no ledger; how long it keeps uses stays as it is
	Logger       *slog.Logger
	Metrics      prometheus.Registerer // nil: none
}

// Open creates the streams that are missing and checks those that exist.
func Open(ctx context.Context, nc *nats.Conn, o Options) (*Ledger, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	l := &Ledger{nc: nc, js: js, node: o.Node, replicas: max(1, o.Replicas), embedded: nc.Opts.InProcessServer != nil, log: o.Logger, reads: make(chan struct{}, maxReads), heartbeatSubject: heartbeatsRoot + nuid.Next()}
	l.commits.single, l.commits.batch = l.publishOnce, l.publishBatch
	for s := range l.health {
		l.health[s].wake = make(chan struct{}, 1)
	}
	for i, want := range configs(o) {
		s, err := l.open(ctx, want, o)
		if err != nil {
			return nil, fmt.Errorf("open stream %s: %w", want.Name, err)
		}
		switch {
		case i < len(l.streams):
			l.streams[i] = s
		case want.Name == dataKeysName:
			l.dataKeys = s
		case want.Name == tilesName:
			l.tiles = s
		case want.Name == reactionsName:
			l.reactions = s
		case want.Name == monthsName:
			l.months = s
		case want.Name == sinksName:
			l.sinks = s
		case want.Name == attemptsName:
			l.attempts = s
		case want.Name == deadLettersName:
			l.deadLetters = s
		}
	}
	l.restored, _ = strings.CutPrefix(l.streams[Events].CachedInfo().Config.Metadata[restoreState], confirmedAt)
	l.measure(o.Metrics)
	return l, nil
}

// open creates a stream that is missing and checks one that exists.
func (l *Ledger) open(ctx context.Context, want jetstream.StreamConfig, o Options) (jetstream.Stream, error) {
	s, err := l.js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) && !(o.Existing && want.Name == Events.name()) {
		return l.js.CreateStream(ctx, want)
	}
	if err != nil {
		return nil, err
	}
	have := s.CachedInfo().Config
	if err := checkRestored(have, o.Unconfirmed); err != nil {
		return nil, err
	}
	if state := have.Metadata[restoreState]; state != "" {
		l.log.WarnContext(ctx, "this ledger was restored from a back-up", "stream", want.Name, "restored", state)
	}
	if err := check(have, want); err != nil {
		return nil, err
	}
	if have.Replicas < want.Replicas {
		l.log.WarnContext(ctx, "stream has fewer replicas than asked for", "stream", want.Name, "have", have.Replicas, "want", want.Replicas)
	}
	if o.Existing {
		return s, nil
	}
	if have.MaxAge != want.MaxAge || have.MaxBytes != want.MaxBytes {
		have.MaxAge, have.MaxBytes = want.MaxAge, want.MaxBytes
		return l.js.UpdateStream(ctx, have)
	}
	return s, nil
}
