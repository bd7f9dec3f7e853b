package eventstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// heartbeats are the setting of a consumer's idle heartbeats, which the server sends when it had
// nothing else to send for an interval: a consumer that is gone or frozen sends none. They are
// not the ledger's own heartbeats, see heartbeat.go.
type heartbeats struct {
	interval time.Duration
	timeout  time.Duration // without anything from the server: the consumer is given up
}

// The settings of the three kinds of readers. What verifications depend on is noticed within
// a second. A thousand live readers that wait for hours would be four thousand heartbeats a
// second at that interval.
var (
	readModelHeartbeats = heartbeats{250 * time.Millisecond, maxSilence}
	liveHeartbeats      = heartbeats{2 * time.Second, 5 * time.Second}
	pageHeartbeats      = heartbeats{500 * time.Millisecond, 1500 * time.Millisecond}
)

const (
	// maxInFlight is how many messages a consumer may have sent that were not yet taken:
	// enough that a replay does not wait for the network, and at most 32 MB of uses.
	maxInFlight = 500

	// pullExpires is how long one pull request stays with the server.
	pullExpires = 30 * time.Second

	// inactiveThreshold is when the server removes a consumer that nothing was asked of. A batch
	// may take a reader that long: it then makes a new consumer.
	inactiveThreshold = 30 * time.Second
)

// A consumer is a JetStream pull consumer without acknowledgements, for one pass over a
// stream from one position on. The client library's ordered consumer does the same, but
// its recreation takes up to 11 s when a server is frozen, and it does not show when it
// last heard from the server.
type consumer struct {
	nc         *nats.Conn
	stream     jetstream.Stream
	name       string
	pending    uint64 // messages that matched when it was made
	inFlight   int    // messages that it asks for ahead
	heartbeats heartbeats

	messages    chan *nats.Msg
	wake        chan struct{} // makes next return without a message
	connection  chan nats.Status
	sub         *nats.Subscription
	outstanding int       // messages asked for that did not come
	sequence    uint64    // of the last delivery
	heard       time.Time // when the server last sent anything
}

var (
	errSilent       = &interrupted{errors.New("the consumer sends no heartbeats")}
	errGap          = &interrupted{errors.New("a message of the consumer was lost")}
	errDisconnected = &interrupted{errors.New("the connection was lost")}
)

// newConsumer makes a consumer within one try.
func (l *Ledger) newConsumer(ctx context.Context, s Stream, config jetstream.ConsumerConfig, inFlight int, h heartbeats, wake chan struct{}) (*consumer, error) {
	config.AckPolicy, config.MaxDeliver = jetstream.AckNonePolicy, 1
	config.MemoryStorage, config.Replicas = true, 1 // it is made anew when its server is lost
	config.InactiveThreshold = inactiveThreshold
	c := &consumer{nc: l.nc, stream: l.streams[s], heartbeats: h, wake: wake, inFlight: inFlight,
		messages: make(chan *nats.Msg, inFlight+maxInFlight)} // with room for what is no message
	c.connection = l.nc.StatusChanged(nats.RECONNECTING, nats.CLOSED)
	var made jetstream.Consumer
	err := try(ctx, func(ctx context.Context) (err error) {
		made, err = c.stream.CreateConsumer(ctx, config)
		return err
	})
	if err != nil {
		l.nc.RemoveStatusListener(c.connection)
		return nil, err
	}
	c.name, c.pending = made.CachedInfo().Name, made.CachedInfo().NumPending
	c.heard = time.Now()
	if c.sub, err = l.nc.ChanSubscribe(l.nc.NewInbox(), c.messages); err != nil {
		c.close()
		return nil, classify(err)
	}
	return c, nil
}

// close takes the consumer off the server, where it would stay for a while: readers that
// come and go quickly would be more than a server takes.
func (c *consumer) close() {
	c.nc.RemoveStatusListener(c.connection)
	if c.sub != nil {
		_ = c.sub.Unsubscribe()
	}
	ctx, cancel := context.WithTimeout(context.Background(), tryTimeout)
	defer cancel()
	_ = c.stream.DeleteConsumer(ctx, c.name) // if it fails, time does it
}

// next waits for a message. It returns none when a heartbeat or a wake came instead.
func (c *consumer) next(ctx context.Context) (*nats.Msg, error) {
	if err := c.pull(); err != nil {
		return nil, err
	}
	timeout := time.NewTimer(c.heartbeats.timeout)
	defer timeout.Stop()
	select {
	case m := <-c.messages:
		return c.receive(m)
	case <-c.wake:
		return nil, nil
	case <-c.connection:
		return nil, errDisconnected
	case <-timeout.C:
		return nil, errSilent
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// nextWithin is next for a message that has been sent already: it waits for d at most.
func (c *consumer) nextWithin(d time.Duration) (*nats.Msg, error) {
	if err := c.pull(); err != nil {
		return nil, err
	}
	select {
	case m := <-c.messages:
		return c.receive(m)
	default:
		if d == 0 {
			return nil, nil
		}
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case m := <-c.messages:
		return c.receive(m)
	case <-timer.C:
		return nil, nil
	}
}

// pull asks for more when half of what was asked for has come.
func (c *consumer) pull() error {
	if c.outstanding > c.inFlight/2 {
		return nil
	}
	n := c.inFlight - c.outstanding
	c.outstanding = c.inFlight
	request := fmt.Sprintf(`{"batch":%d,"expires":%d,"idle_heartbeat":%d}`, n, pullExpires, c.heartbeats.interval)
	if err := c.nc.PublishRequest("$JS.API.CONSUMER.MSG.NEXT."+c.stream.CachedInfo().Config.Name+"."+c.name, c.sub.Subject, []byte(request)); err != nil {
		return &interrupted{err}
	}
	return nil
}

// receive notes that the server was heard, and returns m if it is a message of the stream.
func (c *consumer) receive(m *nats.Msg) (*nats.Msg, error) {
	c.heard = time.Now()
	if status := header(m.Header, "Status"); status != "" && len(m.Data) == 0 {
		return nil, c.status(status, m)
	}
	c.outstanding--
	return m, nil
}

// status handles what the server sends instead of a message of the stream.
func (c *consumer) status(status string, m *nats.Msg) error {
	switch status {
	case "100": // heartbeat
		return nil
	case "408": // a pull request has expired
		left, err := strconv.Atoi(header(m.Header, "Nats-Pending-Messages"))
		if err != nil {
			left = c.outstanding
		}
		c.outstanding = max(0, c.outstanding-left)
		return nil
	}
	return &interrupted{fmt.Errorf("the consumer is lost: %s %s", status, header(m.Header, "Description"))}
}

// metadata reads where m is in the stream, and whether a message before it got lost.
func (c *consumer) metadata(m *nats.Msg) (*nats.MsgMetadata, error) {
	meta, err := m.Metadata()
	if err != nil {
		return nil, err
	}
	if meta.Sequence.Consumer != c.sequence+1 {
		return nil, errGap
	}
	c.sequence++
	return meta, nil
}
