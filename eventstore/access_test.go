package eventstore_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// documentedServer runs a NATS server with the accounts of docs/events.md.
func documentedServer(t *testing.T) *server.Server {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("..", "docs", "events.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```conf\n")
	accounts, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("docs/events.md has no accounts")
	}
	t.Setenv("KEYTRAIL_PASSWORD", "k-password")
	t.Setenv("SIEM_PASSWORD", "s-password")
	file := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(file, []byte("listen: 127.0.0.1:-1\njetstream { store_dir: \""+t.TempDir()+"\" }\n"+accounts), 0o600); err != nil {
		t.Fatal(err)
	}
	o, err := server.ProcessConfigFile(file)
	if err != nil {
		t.Fatal(err)
	}
	o.NoLog, o.NoSigs = true, true
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server does not start")
	}
	return s
}

func connectAs(t *testing.T, s *server.Server, user, password string, o ...nats.Option) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(s.ClientURL(), append(o, nats.UserInfo(user, password))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// TestAReaderInNATSHasItsConsumerAndNothingElse tries the documented permissions: the reader
// gets CloudEvents of its organization without a digest in the body, and can neither choose
// another filter nor read, write or delete anything beside.
func TestAReaderInNATSHasItsConsumerAndNothingElse(t *testing.T) {
	s := documentedServer(t)
	admin := connectAs(t, s, "keytrail", "k-password")
	ledger, err := eventstore.Open(t.Context(), admin.Conn(), eventstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := created(1), created(2)
	theirs.Org = domain.NewOrgID("theirs")
	ours.Digest, theirs.Digest = domain.NewSecret("a").Digest(), domain.NewSecret("b").Digest()
	for _, e := range []domain.KeyCreated{theirs, ours} {
		if _, err := ledger.Append(t.Context(), eventstore.KeyRef(e.Org, e.ID), 0, eventstore.Command{ID: "c"}, e); err != nil {
			t.Fatal(err)
		}
	}
	config := jetstream.ConsumerConfig{Durable: "siem", FilterSubject: "keytrail.events." + string(ours.Org) + ".>", AckPolicy: jetstream.AckExplicitPolicy}
	if _, err := admin.CreateConsumer(t.Context(), "KEYTRAIL_EVENTS", config); err != nil {
		t.Fatal(err)
	}

	violations := make(chan string, 20)
	siem := connectAs(t, s, "siem", "s-password", nats.CustomInboxPrefix("_INBOX.siem"),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { violations <- err.Error() }))
	imported, err := jetstream.NewWithDomain(siem.Conn(), "KEYTRAIL")
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := imported.Consumer(t.Context(), "KEYTRAIL_EVENTS", "siem")
	if err != nil {
		t.Fatal(err)
	}
	batch, err := consumer.FetchNoWait(10)
	if err != nil {
		t.Fatal(err)
	}
	received := 0
	for m := range batch.Messages() {
		received++
		digest, _ := ours.Digest.MarshalText()
		if m.Headers().Get("content-type") != "application/cloudevents+json" || !strings.Contains(string(m.Data()), string(ours.ID)) || strings.Contains(string(m.Data()), string(digest)) {
			t.Errorf("received %v %s", m.Headers(), m.Data())
		}
		if err := m.DoubleAck(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if received != 1 {
		t.Errorf("%d events were received, not 1", received)
	}

	for _, reply := range []string{"keytrail.events." + string(ours.Org) + ".key.x", "keytrail.uses", "$JS.API.STREAM.DELETE.KEYTRAIL_USES"} {
		for _, subject := range []string{"$JS.KEYTRAIL.API.CONSUMER.INFO.KEYTRAIL_EVENTS.siem", "$JS.KEYTRAIL.API.CONSUMER.MSG.NEXT.KEYTRAIL_EVENTS.siem", "$JS.ACK.KEYTRAIL_EVENTS.siem.1.1.1.1.0"} {
			if err := siem.Conn().PublishRequest(subject, reply, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := consumer.Info(t.Context()); err != nil { // is answered after them
		t.Fatal(err)
	}
	for stream, want := range map[string]uint64{"KEYTRAIL_EVENTS": 2, "KEYTRAIL_USES": 0} {
		if got, err := admin.Stream(t.Context(), stream); err != nil || got.CachedInfo().State.LastSeq != want {
			t.Errorf("an answer is stored on %s: %+v, %v", stream, got, err)
		}
	}

	beyond := []string{"$JS.API.CONSUMER.CREATE.KEYTRAIL_EVENTS.mine", "$JS.API.CONSUMER.DURABLE.CREATE.KEYTRAIL_EVENTS.mine", "$JS.API.STREAM.INFO.KEYTRAIL_EVENTS",
		"$JS.API.STREAM.MSG.GET.KEYTRAIL_EVENTS", "$JS.API.DIRECT.GET.KEYTRAIL_EVENTS", "$JS.API.STREAM.DELETE.KEYTRAIL_USES", "keytrail.events.x.key.y"}
	for _, subject := range beyond {
		if err := siem.Conn().Publish(subject, nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := siem.Conn().SubscribeSync("keytrail.>"); err != nil {
		t.Fatal(err)
	}
	for _, subject := range append(beyond, "keytrail.>") {
		select {
		case said := <-violations:
			if !strings.Contains(said, `"`+subject+`"`) {
				t.Errorf("%s is not refused; what is: %s", subject, said)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%s is not refused", subject)
		}
	}
}

// TestWhatNATSRefusesIsLogged has the server refuse something that no call waits for.
func TestWhatNATSRefusesIsLogged(t *testing.T) {
	s := documentedServer(t)
	lines := make(lineWriter, 10)
	nc, err := eventstore.Connect(eventstore.ConnectOptions{URL: strings.Replace(s.ClientURL(), "//", "//siem:s-password@", 1)},
		slog.New(slog.NewJSONHandler(lines, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := nc.Publish("keytrail.events.x", nil); err != nil {
		t.Fatal(err)
	}
	select {
	case line := <-lines:
		if !strings.Contains(line, "keytrail.events.x") || strings.Contains(line, "s-password") {
			t.Error(line)
		}
	case <-time.After(10 * time.Second):
		t.Error("the refusal is not in the log")
	}
}

// A lineWriter gives what is written to a test.
type lineWriter chan string

func (w lineWriter) Write(b []byte) (int, error) {
	w <- string(b)
	return len(b), nil
}
