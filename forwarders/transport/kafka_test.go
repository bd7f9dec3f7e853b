package transport

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"net"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/forwarders/outbound"
)

// fakeKafka is franz-go's own stand-in for brokers, which speaks the protocol on sockets.
func fakeKafka(t *testing.T, o ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(3), kfake.SeedTopics(4, "keytrail")}, o...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func kafkaSink(c *kfake.Cluster, change func(*Receiver)) Receiver {
	r := Receiver{SinkDefinition: domain.SinkDefinition{Type: domain.SinkKafka, Settings: domain.SinkSettings{Brokers: c.ListenAddrs(), Topic: "keytrail", PlainText: true}}}
	if change != nil {
		change(&r)
	}
	return r
}

// consumed are the values of each key, in the order of their partitions, until there are n.
func consumed(t *testing.T, c *kfake.Cluster, n int) map[string][]string {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.ConsumeTopics("keytrail"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	all := map[string][]string{}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for have := 0; have < n; {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("%d of %d", have, n)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			have++
			if len(r.Headers) != 2 || string(r.Headers[0].Value) != fmt.Sprintf("0123abcd-events-%s", strings.Trim(string(r.Value), `{"n:}`)) || string(r.Headers[1].Value) != "key.revoked" {
				t.Errorf("%s has the headers %q", r.Value, r.Headers)
			}
			all[string(r.Key)] = append(all[string(r.Key)], string(r.Value))
		})
	}
	return all
}

// TestKafkaKeepsTheOrderOfEachKey, with brokers that fail now and then.
func TestKafkaKeepsTheOrderOfEachKey(t *testing.T) {
	c := fakeKafka(t)
	produced := 0
	c.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		demandIdempotent(t, r.(*kmsg.ProduceRequest))
		if produced++; produced%3 == 1 {
			answer := r.ResponseKind().(*kmsg.ProduceResponse)
			for _, topic := range r.(*kmsg.ProduceRequest).Topics {
				answered := kmsg.NewProduceResponseTopic()
				answered.Topic, answered.TopicID = topic.Topic, topic.TopicID
				for _, p := range topic.Partitions {
					one := kmsg.NewProduceResponseTopicPartition()
					one.Partition, one.ErrorCode = p.Partition, kerr.NotLeaderForPartition.Code
					answered.Partitions = append(answered.Partitions, one)
				}
				answer.Topics = append(answer.Topics, answered)
			}
			return answer, nil, true
		}
		return nil, nil, false
	})
	s := newSender(t, kafkaSink(c, nil))
	all := someEvents(1000, "key_a", "key_b", "key_c", "key_d", "key_e")
	for part := 0; part < len(all); part += 500 {
		accepted(t, s.Send(t.Context(), all[part:part+500]))
	}
	got := consumed(t, c, len(all))
	for i := range all {
		key := all[i].Key
		if len(got[key]) == 0 || got[key][0] != string(all[i].Body) {
			t.Fatalf("event %d of %s: %.3v", i, key, got[key])
		}
		got[key] = got[key][1:]
	}
}

// demandIdempotent checks that a request waits for all replicas, and that brokers can tell what they
// have of it already.
func demandIdempotent(t *testing.T, r *kmsg.ProduceRequest) {
	t.Helper()
	if r.Acks != -1 {
		t.Errorf("it waits for %d replicas", r.Acks)
	}
	for _, topic := range r.Topics {
		for _, p := range topic.Partitions {
			var b kmsg.RecordBatch
			if err := b.ReadFrom(p.Records); err != nil || b.ProducerID < 0 || b.FirstSequence < 0 {
				t.Errorf("a batch of producer %d, from %d on: %v", b.ProducerID, b.FirstSequence, err)
			}
		}
	}
}

func TestKafkaOverTLSWithAPassword(t *testing.T) {
	borrowed := httptest.NewTLSServer(nil) // its certificate is for 127.0.0.1
	defer borrowed.Close()
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: borrowed.Certificate().Raw}))
	c := fakeKafka(t, kfake.TLS(&tls.Config{Certificates: borrowed.TLS.Certificates}), kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-256", "admin", "x"), kfake.User("SCRAM-SHA-512", "keytrail", secret))
	sink := func(change func(*Receiver)) Receiver {
		return kafkaSink(c, func(r *Receiver) {
			r.Settings.PlainText, r.Settings.CA, r.Settings.SASL, r.Settings.Username, r.Credentials.Password = false, ca, "scram-sha-512", "keytrail", secret
			change(r)
		})
	}
	accepted(t, newSender(t, sink(func(*Receiver) {})).Send(t.Context(), someEvents(10, "a")))
	told := map[string]string{"no authority": "unknown authority", "plain text": "is TLS missing?"}
	for what, change := range map[string]func(*Receiver){
		"a wrong password": func(r *Receiver) { r.Credentials.Password = secret + "x" },
		"no authority":     func(r *Receiver) { r.Settings.CA = "" },
		"plain text":       func(r *Receiver) { r.Settings.PlainText = true },
		"no user":          func(r *Receiver) { r.Settings.SASL = "" },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		r := newSender(t, sink(change)).Send(ctx, someEvents(1, "a"))
		if len(r.Failed) != 1 || r.Failed[0].Kind != Again || strings.Contains(r.Failed[0].Text, secret) || !strings.Contains(r.Failed[0].Text, told[what]) {
			t.Errorf("%s: %+v", what, r)
		}
	}
}

// TestKafkaDialsNothingThatIsNotAllowed: nor a broker that the cluster names.
func TestKafkaDialsNothingThatIsNotAllowed(t *testing.T) {
	c := fakeKafka(t)
	strict, err := New(kafkaSink(c, nil), Environment{Outbound: outbound.Policy{}})
	if err != nil {
		t.Fatal(err)
	}
	defer strict.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if r := strict.Send(ctx, someEvents(1, "a")); len(r.Failed) != 1 || !strings.Contains(r.Failed[0].Text, "not allowed: a loopback address") {
		t.Errorf("%+v", r)
	}
	inside, err := net.Listen("tcp", "127.0.0.2:0") // listens, and is not in the sink's networks
	if err != nil {
		t.Fatal(err)
	}
	defer inside.Close()
	dialled := make(chan net.Conn, 100)
	go func() {
		for conn, err := inside.Accept(); err == nil; conn, err = inside.Accept() {
			dialled <- conn
		}
	}()
	c.ControlKey(int16(kmsg.Metadata), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		answer := r.ResponseKind().(*kmsg.MetadataResponse)
		broker := kmsg.NewMetadataResponseBroker()
		broker.NodeID, broker.Host, broker.Port = 0, "127.0.0.2", int32(inside.Addr().(*net.TCPAddr).Port)
		answer.Brokers = append(answer.Brokers, broker)
		topic := kmsg.NewMetadataResponseTopic()
		name := "keytrail"
		topic.Topic = &name
		p := kmsg.NewMetadataResponseTopicPartition()
		p.Leader = 0
		topic.Partitions = append(topic.Partitions, p)
		answer.Topics = append(answer.Topics, topic)
		return answer, nil, true
	})
	named, err := New(kafkaSink(c, nil), Environment{Outbound: outbound.Policy{Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}})
	if err != nil {
		t.Fatal(err)
	}
	defer named.Close()
	ctx, cancel = context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if r := named.Send(ctx, someEvents(1, "a")); len(r.Failed) != 1 {
		t.Errorf("%+v", r)
	}
	if n := len(dialled); n > 0 {
		t.Errorf("it was dialled %d times", n)
	}
}

func TestKafkaRefusesForGood(t *testing.T) {
	c := fakeKafka(t)
	s := newSender(t, kafkaSink(c, nil))
	all := someEvents(3, "a")
	all[1].Body = make([]byte, 2<<20)
	r := s.Send(t.Context(), all)
	if len(r.Failed) != 1 || r.Failed[1] == nil || r.Failed[1].Kind != Rejected {
		t.Errorf("%+v", r)
	}
	if got := fmt.Sprint(consumed(t, c, 2)["a"]); got != `[{"n":1} {"n":3}]` {
		t.Error(got)
	}
}
