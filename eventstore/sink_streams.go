package eventstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/keytrail/keytrail/domain"
)

// SinkConsumer is the name of the consumer that each sink stream has: its subscribers read from
// it, and share what there is.
const SinkConsumer = "subscriber"

// duplicateInBatch is the server's code for an atomic batch with a message that the stream has
// already; the client library has no name for it.
const duplicateInBatch jetstream.ErrorCode = 10201

// The bounds of a sink stream. What its subscribers do not read in time, and what is beyond its
// size, is dropped: the trail still has it, and a replay of the sink brings it again.
const (
	sinkStreamAge      = 7 * 24 * time.Hour
	sinkStreamMaxAge   = 400 * 24 * time.Hour
	sinkStreamMaxBytes = 1 << 30
	sinkPending        = 1000
)

// A SinkStream is a JetStream stream that a sink fills: a stream of an organization's own beside
// the ledger, with the bodies of events as the sink writes them.
type SinkStream struct {
	ledger  *Ledger
	subject string
	name    string
}

// sinkStreams begins the names of sink streams.
const sinkStreams = "KEYTRAIL_STREAM_"

func sinkStreamName(org domain.OrgID, sink domain.SinkID) string {
	return fmt.Sprintf("%s%s_%s", sinkStreams, org, sink)
}

// sinkStreamsRoot begins the subjects of sink streams.
const sinkStreamsRoot = "keytrail.streams."

// SinkStream makes the stream of a sink, or keeps it as long as maxAge says now; 0: a week.
func (l *Ledger) SinkStream(ctx context.Context, org domain.OrgID, sink domain.SinkID, maxAge time.Duration) (*SinkStream, error) {
	if maxAge <= 0 {
		maxAge = sinkStreamAge
	}
	s := &SinkStream{ledger: l, name: sinkStreamName(org, sink), subject: sinkStreamsRoot + string(org) + "." + string(sink)}
	stream, err := l.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: s.name, Subjects: []string{s.subject}, Storage: jetstream.FileStorage, Retention: jetstream.LimitsPolicy,
		Replicas: l.replicas, Discard: jetstream.DiscardOld, MaxAge: min(maxAge, sinkStreamMaxAge), MaxBytes: sinkStreamMaxBytes,
		MaxMsgs: -1, MaxMsgsPerSubject: -1, MaxMsgSize: maxMessage, MaxConsumers: -1,
		AllowAtomicPublish: true, Duplicates: min(duplicateWindow, maxAge),
	})
	if err != nil {
		return nil, fmt.Errorf("the stream %s: %w", s.name, err)
	}
	return s, keepConsumer(ctx, stream, subscriberConfig(SinkConsumer, sinkPending))
}

// deleteSinkStream deletes the stream of a sink, if there is one.
func (l *Ledger) deleteSinkStream(ctx context.Context, sink domain.SinkID) error {
	names := l.js.StreamNames(ctx, jetstream.WithStreamListSubject(sinkStreamsRoot+"*."+string(sink)))
	for name := range names.Name() {
		if err := l.js.DeleteStream(ctx, name); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
			return err
		}
	}
	return names.Err()
}

// Publish appends messages, each with an id and a body, in their order, and says how many of them
// are stored. A repeat of an id within two minutes is dropped; for later ones its readers have it.
//
// They go as one atomic batch, so that what is behind a lost one is not stored before it. One
// that has been stored already refuses the batch: then they go one by one.
func (s *SinkStream) Publish(ctx context.Context, ids []string, bodies [][]byte) (stored int, err error) {
	batch := make([]*nats.Msg, len(ids))
	for i, id := range ids {
		batch[i] = &nats.Msg{Subject: s.subject, Data: bodies[i], Header: nats.Header{jetstream.MsgIDHeader: {id}}}
	}
	if len(batch) > 1 && len(batch) <= maxAtomicMessages {
		if _, err = s.ledger.publishBatch(ctx, batch); err == nil {
			return len(batch), nil
		}
		var refusal *jetstream.APIError
		if !errors.As(err, &refusal) || refusal.ErrorCode != duplicateInBatch {
			return 0, err
		}
		leaveBatch(batch)
	}
	for i, m := range batch {
		if _, err := s.ledger.js.PublishMsg(ctx, m); err != nil {
			return i, err
		}
	}
	return len(batch), nil
}
