package eventstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/keytrail/keytrail/domain"
)

// What the forwarding of sinks needs beside the ledger is in three streams: the lease of the
// process that forwards, and how far each sink has come; the latest attempts to deliver; and what
// receivers rejected for good.
const (
	sinksName = "KEYTRAIL_SINKS"
	sinksRoot = "keytrail.sinks."

	attemptsName   = "KEYTRAIL_ATTEMPTS"
	attemptsRoot   = "keytrail.attempts."
	attemptsMaxAge = 7 * 24 * time.Hour // longer than a sink fails before it pauses
	maxAttempts    = 100                // of a sink: some 100 KB

	deadLettersName = "KEYTRAIL_DEAD_LETTERS"
	deadLettersRoot = "keytrail.dead_letters."
	maxDeadLetters  = 1000 // of a sink: a receiver that rejects everything must not fill the disk
)

// sinkConfigs are the streams of the sinks.
func sinkConfigs(o Options) []jetstream.StreamConfig {
	return []jetstream.StreamConfig{
		// One message a subject, the last. They can be deleted, with their sink. A full disk
		// refuses the new and not the old.
		keptAlike(o, jetstream.StreamConfig{
			Name: sinksName, Subjects: []string{sinksRoot + ">"},
			MaxMsgs: -1, MaxBytes: -1, MaxMsgsPerSubject: 1, Discard: jetstream.DiscardNew,
		}),
		// For an operator to look at: the oldest go.
		keptAlike(o, jetstream.StreamConfig{
			Name: attemptsName, Subjects: []string{attemptsRoot + "*"},
			MaxMsgs: -1, MaxBytes: -1, MaxMsgsPerSubject: maxAttempts, MaxAge: attemptsMaxAge, Discard: jetstream.DiscardOld,
		}),
		// What no receiver has: the oldest stay, and a sink that has as many as it may pauses.
		keptAlike(o, jetstream.StreamConfig{
			Name: deadLettersName, Subjects: []string{deadLettersRoot + "*"},
			MaxMsgs: -1, MaxBytes: -1, MaxMsgsPerSubject: maxDeadLetters, Discard: jetstream.DiscardNew, DiscardNewPerSubject: true,
		}),
	}
}

// CheckpointState is the name of how far a sink has come.
func CheckpointState(id domain.SinkID) string { return string(id) + ".checkpoint" }

// ReplayState is the name of how far the replay of a sink has come.
func ReplayState(id domain.SinkID) string { return string(id) + ".replay" }

// KeptSinks are the sinks of which something is kept, be it that they were deleted.
func (l *Ledger) KeptSinks(ctx context.Context) (map[domain.SinkID]bool, error) {
	kept := map[domain.SinkID]bool{}
	add := func(name string) {
		if id, err := domain.ParseSinkID(name); err == nil {
			kept[id] = true
		}
	}
	err := retry(ctx, func(ctx context.Context) error {
		for _, s := range []struct {
			stream jetstream.Stream
			root   string
			filter string
		}{{l.sinks, sinksRoot, "*.*"}, {l.attempts, attemptsRoot, "*"}, {l.deadLetters, deadLettersRoot, "*"}} {
			info, err := s.stream.Info(ctx, jetstream.WithSubjectFilter(s.root+s.filter))
			if err != nil {
				return err
			}
			for subject := range info.State.Subjects {
				id, _, _ := strings.Cut(strings.TrimPrefix(subject, s.root), ".")
				add(id)
			}
		}
		names := l.js.StreamNames(ctx, jetstream.WithStreamListSubject(sinkStreamsRoot+">"))
		for name := range names.Name() {
			_, id, _ := strings.Cut(strings.TrimPrefix(name, sinkStreams+"org_"), "_") // of KEYTRAIL_STREAM_org_…_snk_…
			add(id)
		}
		return names.Err()
	})
	return kept, err
}

// DeleteSink deletes what is kept of a sink.
func (l *Ledger) DeleteSink(ctx context.Context, id domain.SinkID) error {
	return retry(ctx, func(ctx context.Context) error {
		return errors.Join(
			l.sinks.Purge(ctx, jetstream.WithPurgeSubject(sinksRoot+string(id)+".*")),
			l.attempts.Purge(ctx, jetstream.WithPurgeSubject(attemptsRoot+string(id))),
			l.deadLetters.Purge(ctx, jetstream.WithPurgeSubject(deadLettersRoot+string(id))),
			l.deleteSinkStream(ctx, id))
	})
}

// AddAttempt keeps what became of an attempt to deliver. It waits for no acknowledgement: an
// attempt that is lost misleads no operator.
func (l *Ledger) AddAttempt(id domain.SinkID, data []byte) error {
	if err := l.Suspended(); err != nil {
		return err
	}
	return l.nc.Publish(attemptsRoot+string(id), data)
}

// Attempts are the attempts of a sink that are kept, oldest first.
func (l *Ledger) Attempts(ctx context.Context, id domain.SinkID) ([]Raw, error) {
	return readMessages(ctx, l.attempts, attemptsRoot+string(id), 0, maxAttempts)
}

// ErrDeadLettersFull says that a sink has as many dead letters as it may.
var ErrDeadLettersFull = errors.New("there are as many dead letters as there may be")

// AddDeadLetter keeps what a receiver rejected for good. event is its id: a repeat is dropped.
func (l *Ledger) AddDeadLetter(ctx context.Context, id domain.SinkID, event string, data []byte) error {
	if err := l.Suspended(); err != nil {
		return err
	}
	count, err := l.CountDeadLetters(ctx, id)
	if err != nil {
		return err
	}
	if count >= maxDeadLetters {
		return ErrDeadLettersFull
	}
	m := nats.NewMsg(deadLettersRoot + string(id))
	m.Data = data
	m.Header.Set(jetstream.MsgIDHeader, string(id)+"."+event)
	err = retry(ctx, func(ctx context.Context) error {
		_, err := l.publishOnce(ctx, m)
		return err
	})
	if err != nil {
		return fmt.Errorf("keep a dead letter: %w", err)
	}
	return nil
}

// CountDeadLetters is how many a sink has.
func (l *Ledger) CountDeadLetters(ctx context.Context, id domain.SinkID) (n uint64, err error) {
	subject := deadLettersRoot + string(id)
	err = retry(ctx, func(ctx context.Context) error {
		info, err := l.deadLetters.Info(ctx, jetstream.WithSubjectFilter(subject))
		if err == nil {
			n = info.State.Subjects[subject]
		}
		return err
	})
	return n, err
}

// DeadLetters are those of a sink after a position, oldest first, at most limit.
func (l *Ledger) DeadLetters(ctx context.Context, id domain.SinkID, after Position, limit int) ([]Raw, error) {
	return readMessages(ctx, l.deadLetters, deadLettersRoot+string(id), after, limit)
}

// DeleteDeadLetter deletes one that was delivered after all, or that the operator gives up.
func (l *Ledger) DeleteDeadLetter(ctx context.Context, p Position) error {
	return retry(ctx, func(ctx context.Context) error {
		_, err := l.deadLetters.GetMsg(ctx, uint64(p))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil // also if an earlier try, or another process, has done it
		}
		if err != nil {
			return err
		}
		return l.deadLetters.DeleteMsg(ctx, uint64(p))
	})
}

// readMessages reads the messages of a subject after a position, at most limit. It asks for one after
// the other: a consumer for each page would stay on the server for a while, which has room for 1,000.
func readMessages(ctx context.Context, s jetstream.Stream, subject string, after Position, limit int) (all []Raw, err error) {
	ctx, cancel := context.WithTimeout(ctx, Deadline)
	defer cancel()
	for len(all) < limit {
		var m *jetstream.RawStreamMsg
		err := retry(ctx, func(ctx context.Context) (err error) {
			m, err = s.GetMsg(ctx, uint64(after)+1, jetstream.WithGetMsgSubject(subject))
			return err
		})
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read %s after %d: %w", subject, after, err)
		}
		after = Position(m.Sequence)
		all = append(all, Raw{Position: after, Subject: m.Subject, Header: m.Header, Data: m.Data, Stored: m.Time})
	}
	return all, nil
}
