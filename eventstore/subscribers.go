package eventstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/keytrail/keytrail/domain"
)

// Pipe is a connection inside the process that speaks NATS's client protocol, as it comes: for a
// proxy of it.
func (s *Server) Pipe() (net.Conn, error) { return s.nats.InProcessConn() }

// subscriberIdle is after which time without a pull a subscriber's consumer of the ledger's own
// streams is forgotten, and its key begins with the first message again.
const subscriberIdle = 30 * 24 * time.Hour

// subscriberPending is how many messages a subscriber may have without having acknowledged them.
// It bounds what waits for a slow one: a message of uses has up to 64 KiB.
func subscriberPending(s Stream) int {
	if s == Uses {
		return 200
	}
	return 1000
}

// KeepSubscriber makes, for a management key of the installation, the consumers with which its
// holder reads the ledger's two streams: named by the key, from the first message on. They are
// left as they are if they exist.
func (l *Ledger) KeepSubscriber(ctx context.Context, key domain.KeyID) error {
	for i, s := range l.streams {
		c := subscriberConfig(string(key), subscriberPending(Stream(i)))
		c.InactiveThreshold = subscriberIdle
		if err := keepConsumer(ctx, s, c); err != nil {
			return fmt.Errorf("the consumer %s of %s: %w", key, Stream(i).name(), err)
		}
	}
	return nil
}

// SubscriberReads tells whether the consumer of a stream is one that a management key may read
// from: of the installation, its own of the ledger's streams; of an organization, the one of each
// of its sink streams.
func SubscriberReads(org domain.OrgID, key domain.KeyID, stream, consumer string) bool {
	if org == domain.Installation {
		return consumer == string(key) && (stream == Events.name() || stream == Uses.name())
	}
	return consumer == SinkConsumer && strings.HasPrefix(stream, sinkStreamName(org, ""))
}

// subscriberConfig is a consumer that a subscriber pulls from. What it may ask for at once is
// bounded here, and cannot be chosen by it.
func subscriberConfig(name string, pending int) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable: name, DeliverPolicy: jetstream.DeliverAllPolicy, ReplayPolicy: jetstream.ReplayInstantPolicy,
		// What is not acknowledged in time comes again, for ever: an auditor's gap would be worse.
		AckPolicy: jetstream.AckExplicitPolicy, AckWait: 30 * time.Second, MaxDeliver: -1, MaxAckPending: pending,
		MaxWaiting: 64, MaxRequestBatch: 1000, MaxRequestExpires: 5 * time.Minute, MaxRequestMaxBytes: 16 << 20,
	}
}

// keepConsumer makes a consumer that is missing.
func keepConsumer(ctx context.Context, s jetstream.Stream, c jetstream.ConsumerConfig) error {
	_, err := s.Consumer(ctx, c.Durable)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		_, err = s.CreateConsumer(ctx, c)
	}
	return err
}
