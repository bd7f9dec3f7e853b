package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/keytrail/keytrail/forwarders/outbound"
)

// Bounds of a producer. Its own retries are for a leader that moves, which takes seconds; what
// takes longer is for the sink to try again.
const (
	kafkaBatchBytes  = 1_000_000 // what brokers take by default
	kafkaRequestTime = 10 * time.Second
	kafkaDelivery    = 25 * time.Second
	kafkaIdle        = 5 * time.Minute
	kafkaMetadataAge = 5 * time.Minute
)

// A kafkaSender produces to a topic. The key of a record is the event's, so that a partition has
// the events of a key in their order; the producer is idempotent, so that its own retries double
// and reorder nothing.
type kafkaSender struct {
	client *kgo.Client
	topic  string
	broken *brokerErrors
}

// brokerErrors has why the last connection to a broker was not made, for operators: the client tries
// again until a record's time is over, and then tells that alone.
type brokerErrors struct{ last atomic.Pointer[error] }

// OnBrokerConnect is told of each attempt to connect.
func (b *brokerErrors) OnBrokerConnect(m kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	if err == nil {
		b.last.Store(nil)
		return
	}
	err = outbound.Explain(net.JoinHostPort(m.Host, strconv.Itoa(int(m.Port))), err)
	b.last.Store(&err)
}

func newKafka(r Receiver, e Environment) (Sender, error) {
	certificates := outbound.Certificates{CA: r.Settings.CA, Client: r.Credentials.ClientCertificate, ClientKey: r.Credentials.ClientKey}
	secure, err := certificates.TLS()
	if err != nil {
		return nil, err
	}
	dial := e.Outbound.PlainDialer().DialContext
	if !r.Settings.PlainText {
		dial = tlsDialer{e.Outbound.Dialer(), secure}.DialContext
	}
	broken := &brokerErrors{}
	options := []kgo.Opt{
		kgo.WithHooks(broken),
		kgo.SeedBrokers(r.Settings.Brokers...), kgo.DefaultProduceTopic(r.Settings.Topic), kgo.ClientID("keytrail"),
		kgo.Dialer(dial), // also to brokers that the cluster names
		kgo.RequiredAcks(kgo.AllISRAcks()), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)), kgo.ProducerLinger(0),
		kgo.ProducerBatchMaxBytes(kafkaBatchBytes), kgo.MaxBufferedRecords(maxKafkaEvents), kgo.MaxBufferedBytes(2 * maxKafkaBytes),
		kgo.ProduceRequestTimeout(kafkaRequestTime), kgo.AllowIdempotentProduceCancellation(), kgo.RetryTimeout(kafkaDelivery), kgo.DialTimeout(kafkaRequestTime),
		kgo.RequestTimeoutOverhead(kafkaRequestTime), kgo.ConnIdleTimeout(kafkaIdle), kgo.MetadataMaxAge(kafkaMetadataAge), kgo.MetadataMinAge(time.Second),
		kgo.BrokerMaxReadBytes(16 << 20), kgo.FetchMaxBytes(1 << 20), kgo.BrokerMaxWriteBytes(16 << 20), kgo.UnknownTopicRetries(1), kgo.DisableClientMetrics(),
	}
	if r.Settings.SASL != "" {
		mechanism, err := kafkaSASL(r)
		if err != nil {
			return nil, err
		}
		options = append(options, kgo.SASL(mechanism))
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return nil, err
	}
	return &kafkaSender{client, r.Settings.Topic, broken}, nil
}

func kafkaSASL(r Receiver) (sasl.Mechanism, error) {
	user, password := r.Settings.Username, r.Credentials.Password
	switch r.Settings.SASL {
	case "plain":
		return plain.Auth{User: user, Pass: password}.AsMechanism(), nil
	case "scram-sha-256":
		return scram.Auth{User: user, Pass: password}.AsSha256Mechanism(), nil
	case "scram-sha-512":
		return scram.Auth{User: user, Pass: password}.AsSha512Mechanism(), nil
	}
	return nil, fmt.Errorf("%q is no mechanism of SASL that a sink can have", r.Settings.SASL)
}

// Bounds of one Send, which the producer's buffers hold.
const (
	maxKafkaEvents = 5000
	maxKafkaBytes  = 4 << 20
)

// Limits let many events share a request.
func (*kafkaSender) Limits() Limits {
	return Limits{Events: maxKafkaEvents, Bytes: maxKafkaBytes, Linger: 10 * time.Millisecond}
}

func (s *kafkaSender) Close() error {
	s.client.Close()
	return nil
}

func (s *kafkaSender) Send(ctx context.Context, events []Event) Result {
	// The client's own bound for a delivery counts from a record's time, which is the event's.
	ctx, cancel := context.WithTimeout(ctx, kafkaDelivery)
	defer cancel()
	records := make([]*kgo.Record, len(events))
	for i := range events {
		e := &events[i]
		records[i] = &kgo.Record{Key: []byte(e.Key), Value: e.Body, Timestamp: e.Time, Headers: []kgo.RecordHeader{{Key: "id", Value: []byte(e.ID)}, {Key: "type", Value: []byte(e.Type)}}}
	}
	place := make(map[*kgo.Record]int, len(records))
	for i, r := range records {
		place[r] = i
	}
	failed := map[int]*Failure{}
	for _, p := range s.client.ProduceSync(ctx, records...) {
		if p.Err != nil {
			failed[place[p.Record]] = s.failure(p.Err)
		}
	}
	return Result{Failed: behindFailed(events, failed)}
}

// failure is what follows from the error of one record.
func (s *kafkaSender) failure(err error) *Failure {
	f := &Failure{Text: outbound.Explain("topic "+s.topic, err).Error()}
	if why := s.broken.last.Load(); why != nil {
		f.Text += "; " + (*why).Error()
	}
	for _, lasting := range []error{kerr.MessageTooLarge, kerr.InvalidRecord} {
		if errors.Is(err, lasting) {
			f.Kind = Rejected
		}
	}
	return f
}
