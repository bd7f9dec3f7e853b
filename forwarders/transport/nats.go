package transport

import (
	"context"
	"errors"
	"net/url"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/keytrail/keytrail/forwarders/outbound"
)

// Bounds of a connection to another NATS server.
const (
	natsTimeout      = 10 * time.Second
	natsPingInterval = 20 * time.Second
	natsPending      = 256 // messages that wait for their acknowledgements
)

// A natsSender publishes to a subject that a JetStream stream of another server has, and waits for
// the stream's acknowledgements. A message's id is the event's, so that the stream drops repeats. A
// subject without a stream is refused: nothing would say that a message arrived.
type natsSender struct {
	url     string
	subject string
	options []nats.Option

	conn *nats.Conn // nil: not connected
	js   jetstream.JetStream
}

func newNATS(r Receiver, e Environment) (Sender, error) {
	u, err := url.Parse(r.URL)
	if err != nil || u.Hostname() == "" || u.User != nil {
		return nil, errNATSURL
	}
	secure, err := outbound.Certificates{CA: r.Settings.CA, Client: r.Credentials.ClientCertificate, ClientKey: r.Credentials.ClientKey}.TLS()
	if err != nil {
		return nil, err
	}
	options := []nats.Option{
		nats.Name("keytrail"), nats.Timeout(natsTimeout), nats.FlusherTimeout(natsTimeout), nats.PingInterval(natsPingInterval), nats.MaxPingsOutstanding(2),
		// The next Send connects again, to the server that the sink names and to none that it was told of.
		nats.NoReconnect(), nats.IgnoreDiscoveredServers(),
		nats.SkipHostLookup(), // the dialer looks it up
		func(o *nats.Options) error { o.TLSConfig = secure; return nil },
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}), // what matters, an acknowledgement lacks
	}
	switch {
	case u.Scheme == "tls":
		options = append(options, nats.Secure(), nats.SetCustomDialer(e.Outbound.Dialer()))
	case u.Scheme == "nats":
		options = append(options, nats.SetCustomDialer(e.Outbound.PlainDialer()))
	default:
		return nil, errNATSURL
	}
	switch {
	case r.Credentials.Token != "":
		options = append(options, nats.Token(r.Credentials.Token))
	case r.Settings.Username != "":
		options = append(options, nats.UserInfo(r.Settings.Username, r.Credentials.Password))
	}
	return &natsSender{url: u.Scheme + "://" + u.Host, subject: r.Settings.Subject, options: options}, nil
}

var errNATSURL = errors.New("the URL is not one like tls://nats.example.com:4222, without credentials")

// Limits let many messages be on their way at once.
func (*natsSender) Limits() Limits {
	return Limits{Events: 1000, Bytes: 2 << 20, Linger: 10 * time.Millisecond}
}

func (s *natsSender) Close() error {
	if s.conn != nil {
		s.conn.Close()
		s.conn = nil
	}
	return nil
}

func (s *natsSender) connect() (err error) {
	if s.conn != nil && !s.conn.IsClosed() {
		return nil
	}
	if s.conn, err = nats.Connect(s.url, s.options...); err != nil {
		s.conn = nil
		return err
	}
	s.js, err = jetstream.New(s.conn, jetstream.WithPublishAsyncMaxPending(natsPending), jetstream.WithPublishAsyncTimeout(natsTimeout))
	return err
}

func (s *natsSender) Send(ctx context.Context, events []Event) Result {
	if err := s.connect(); err != nil {
		return All(len(events), s.failure(err))
	}
	failed := map[int]*Failure{}
	waiting := make([]jetstream.PubAckFuture, len(events))
	for i := range events {
		m := &nats.Msg{Subject: s.subject, Data: events[i].Body, Header: nats.Header{jetstream.MsgIDHeader: {events[i].ID}}}
		var err error
		if waiting[i], err = s.js.PublishMsgAsync(m, jetstream.WithRetryAttempts(0)); err != nil {
			failed[i] = s.failure(err)
		}
	}
	for i, w := range waiting {
		if w == nil {
			continue
		}
		select {
		case <-w.Ok():
		case err := <-w.Err():
			failed[i] = s.failure(err)
		case <-ctx.Done():
			failed[i] = s.failure(ctx.Err())
		}
	}
	if len(failed) > 0 {
		_ = s.Close() // what is still on its way is not waited for
	}
	return Result{Failed: behindFailed(events, failed)}
}

// failure is what follows from the error of one message.
func (s *natsSender) failure(err error) *Failure {
	f := &Failure{Text: outbound.Explain(s.url, err).Error()}
	var refusal *jetstream.APIError
	switch {
	case errors.Is(err, nats.ErrMaxPayload), errors.As(err, &refusal) && refusal.ErrorCode == messageTooLong:
		f.Kind = Rejected
	case errors.Is(err, jetstream.ErrNoStreamResponse), errors.Is(err, nats.ErrNoResponders):
		f.Text = s.url + ": no JetStream stream has the subject " + s.subject
	}
	return f
}

// messageTooLong is the server's code for a message that is longer than its stream takes.
const messageTooLong jetstream.ErrorCode = 10054
