package natsproxy_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
	"github.com/keytrail/keytrail/natsproxy"
)

const (
	orgA = domain.OrgID("org_0000000000000000000000000a")
	orgB = domain.OrgID("org_0000000000000000000000000b")
)

// sinkOf is the sink of an organization.
func sinkOf(org domain.OrgID) domain.SinkID { return domain.SinkID("snk_" + org[4:]) }

func streamOf(org domain.OrgID) string { return fmt.Sprintf("KEYTRAIL_STREAM_%s_%s", org, sinkOf(org)) }

// A fixture is a proxy before a ledger, with a sink stream for each of two organizations.
// The secret of an organization's key is the organization, of the installation's "installation".
type fixture struct {
	server  *eventstore.Server
	ledger  *eventstore.Ledger
	streams map[domain.OrgID]*eventstore.SinkStream
	url     string
	roots   *x509.CertPool
	tried   atomic.Int64
	metrics *prometheus.Registry

	mu    sync.Mutex
	ended map[string]bool // secrets that are good no longer
	away  bool
}

func (f *fixture) authenticate(ctx context.Context, secret string, _ netip.Addr) (natsproxy.Reader, error) {
	f.tried.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	org := map[string]domain.OrgID{"secret of A": orgA, "secret of B": orgB, "secret of all": domain.Installation}[secret]
	switch {
	case f.away:
		return natsproxy.Reader{}, errors.New("the ledger is away")
	case org == "" || f.ended[secret]:
		return natsproxy.Reader{}, domain.ErrInvalidCredentials
	}
	key := domain.KeyID("key_" + org[4:])
	if org == domain.Installation {
		if err := f.ledger.KeepSubscriber(ctx, key); err != nil {
			return natsproxy.Reader{}, err
		}
	}
	return natsproxy.Reader{Key: string(key), Org: org, StillMay: func() error { return f.stillMay(secret) }, Reading: func(context.Context) error { return nil },
		Reads: func(stream, consumer string) bool { return eventstore.SubscriberReads(org, key, stream, consumer) }}, nil
}

func (f *fixture) stillMay(secret string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended[secret] {
		return domain.ErrInvalidCredentials
	}
	return nil
}

func (f *fixture) end(secret string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended[secret] = true
}

func start(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{server: eventstoretest.Server(t), streams: map[domain.OrgID]*eventstore.SinkStream{}, ended: map[string]bool{}, metrics: prometheus.NewRegistry()}
	f.ledger = eventstoretest.Open(t, f.server)
	for _, org := range []domain.OrgID{orgA, orgB} {
		s, err := f.ledger.SinkStream(t.Context(), org, sinkOf(org), 0)
		if err != nil {
			t.Fatal(err)
		}
		f.streams[org] = s
	}
	certificate, roots := certificate(t)
	f.roots = roots
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := natsproxy.New(natsproxy.Options{TLS: &tls.Config{Certificates: []tls.Certificate{certificate}}, Dial: f.server.Pipe, Authenticate: f.authenticate,
		Logger: slog.New(slog.DiscardHandler), Metrics: f.metrics})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	f.url = "tls://" + l.Addr().String()
	return f
}

// certificate is one for 127.0.0.1 that signs itself.
func certificate(t testing.TB) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}

// connect connects a plain client, which tells of errors on a channel.
func (f *fixture) connect(t testing.TB, secret string, options ...nats.Option) (*nats.Conn, <-chan error) {
	t.Helper()
	nc, said, err := f.dial(secret, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc, said
}

func (f *fixture) dial(secret string, options ...nats.Option) (*nats.Conn, <-chan error, error) {
	said := make(chan error, 1000)
	options = append([]nats.Option{nats.UserInfo("anything", secret), nats.Secure(&tls.Config{RootCAs: f.roots}), nats.NoReconnect(),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { said <- err })}, options...)
	nc, err := nats.Connect(f.url, options...)
	return nc, said, err
}

// publish puts messages on an organization's stream.
func (f *fixture) publish(t *testing.T, org domain.OrgID, from, to int) {
	t.Helper()
	var ids []string
	var bodies [][]byte
	for i := from; i < to; i++ {
		ids, bodies = append(ids, fmt.Sprint(org, i)), append(bodies, fmt.Appendf(nil, `{"org":%q,"n":%d}`, org, i))
	}
	if _, err := f.streams[org].Publish(t.Context(), ids, bodies); err != nil {
		t.Fatal(err)
	}
}

func consumer(t testing.TB, nc *nats.Conn, stream, name string) jetstream.Consumer {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	c, err := js.Consumer(t.Context(), stream, name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// take gets n messages and acknowledges them.
func take(t *testing.T, c jetstream.Consumer, n int) (bodies []string) {
	t.Helper()
	batch, err := c.Fetch(n, jetstream.FetchMaxWait(10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	for m := range batch.Messages() {
		bodies = append(bodies, string(m.Data()))
		if err := m.DoubleAck(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if batch.Error() != nil || len(bodies) != n {
		t.Fatalf("%d of %d messages: %v", len(bodies), n, batch.Error())
	}
	return bodies
}

func TestASubscriberReadsItsStream(t *testing.T) {
	f := start(t)
	f.publish(t, orgA, 0, 150)
	nc, _ := f.connect(t, "secret of A")
	c := consumer(t, nc, streamOf(orgA), eventstore.SinkConsumer)
	all := take(t, c, 100)
	nc.Close()
	nc, _ = f.connect(t, "", nats.Token("secret of A"))
	all = append(all, take(t, consumer(t, nc, streamOf(orgA), eventstore.SinkConsumer), 50)...)
	for i, body := range all {
		if want := fmt.Sprintf(`{"org":%q,"n":%d}`, orgA, i); body != want {
			t.Fatalf("%s instead of %s", body, want)
		}
	}
}

// TestASubscriberFollows takes messages as they come, with the subscription that the client library
// keeps open, and more pulls than subscriptions may be open at once.
func TestASubscriberFollows(t *testing.T) {
	f := start(t)
	nc, said := f.connect(t, "secret of A")
	c := consumer(t, nc, streamOf(orgA), eventstore.SinkConsumer)
	for i := range 100 {
		f.publish(t, orgA, i, i+1)
		take(t, c, 1)
	}
	got := make(chan string, 100)
	follow, err := c.Consume(func(m jetstream.Msg) { got <- string(m.Data()); _ = m.Ack() })
	if err != nil {
		t.Fatal(err)
	}
	defer follow.Stop()
	for i := 100; i < 200; i++ {
		f.publish(t, orgA, i, i+1)
		if body := <-got; !strings.Contains(body, fmt.Sprintf(`"n":%d}`, i)) {
			t.Fatalf("%s after %d", body, i-1)
		}
	}
	select {
	case err := <-said:
		t.Error(err)
	default:
	}
}

func TestTheInstallationReadsTheLedger(t *testing.T) {
	f := start(t)
	if _, err := f.ledger.Append(t.Context(), eventstore.OrganizationRef(orgA), 0, eventstore.Command{},
		domain.OrganizationCreated{ID: orgA, Name: "a", Header: domain.Header{At: time.Now()}}); err != nil {
		t.Fatal(err)
	}
	nc, _ := f.connect(t, "secret of all")
	if body := take(t, consumer(t, nc, "KEYTRAIL_EVENTS", "key_"+string(domain.Installation[4:])), 1)[0]; !strings.Contains(body, "organization.created") {
		t.Error(body)
	}
	consumer(t, nc, "KEYTRAIL_USES", "key_"+string(domain.Installation[4:]))
}

func TestWhoIsRefused(t *testing.T) {
	f := start(t)
	f.end("secret of B")
	for _, secret := range []string{"wrong", "", "secret of B", strings.Repeat("x", 3000)} {
		if _, _, err := f.dial(secret); !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("%.20q: %v", secret, err)
		}
	}
	if _, _, err := f.dial(strings.Repeat("x", 5000)); err == nil {
		t.Error("a line that is too long is taken")
	}
	f.mu.Lock()
	f.away = true
	f.mu.Unlock()
	if _, _, err := f.dial("secret of A"); err == nil || errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("a client that gives up when its key is refused would give up: %v", err)
	}
}

// TestPlainTextIsNotListenedTo: a client that sends its key before TLS has it looked at by nobody.
func TestPlainTextIsNotListenedTo(t *testing.T) {
	f := start(t)
	conn, err := net.Dial("tcp", strings.TrimPrefix(f.url, "tls://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "CONNECT {\"verbose\":true,\"pass\":%q}\r\nPING\r\n", "secret of A")
	answer := make([]byte, 4096)
	for n := 0; err == nil; n, err = conn.Read(answer) {
		if strings.Contains(string(answer[:n]), "OK") || strings.Contains(string(answer[:n]), "PONG") {
			t.Fatalf("%s", answer[:n])
		}
	}
	if f.tried.Load() != 0 {
		t.Error("its key was looked at")
	}
}

func TestARevocationEndsTheConnection(t *testing.T) {
	f := start(t)
	closed := make(chan struct{})
	nc, said := f.connect(t, "secret of A", nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	quiet := make(chan struct{}) // of a client that is sent nothing
	f.connect(t, "secret of A", nats.ClosedHandler(func(*nats.Conn) { close(quiet) }))
	other, _ := f.connect(t, "secret of B")
	f.publish(t, orgA, 0, 1)
	take(t, consumer(t, nc, streamOf(orgA), eventstore.SinkConsumer), 1)
	f.end("secret of A")
	<-closed
	select {
	case <-quiet:
	case <-time.After(20 * time.Second): // the server pings each minute
		t.Error("a client that is sent nothing stays")
	}
	if err := <-said; !errors.Is(err, nats.ErrAuthRevoked) {
		t.Error(err)
	}
	if err := other.Flush(); err != nil {
		t.Error(err)
	}
}

// TestNothingIsSentAfterARevocation: what comes after it is not sent, however soon it comes.
func TestNothingIsSentAfterARevocation(t *testing.T) {
	f := start(t)
	for i := range 20 {
		closed := make(chan struct{})
		nc, _ := f.connect(t, "secret of A", nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
		inbox := nats.NewInbox()
		if _, err := nc.SubscribeSync(inbox); err != nil {
			t.Fatal(err)
		}
		if err := nc.PublishRequest("$JS.API.CONSUMER.MSG.NEXT."+streamOf(orgA)+"."+eventstore.SinkConsumer, inbox, []byte(`{"batch":1,"expires":5000000000}`)); err != nil {
			t.Fatal(err)
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		f.end("secret of A")
		f.publish(t, orgA, i, i+1)
		<-closed
		if nc.Stats().InMsgs > 0 {
			t.Fatal("it was sent")
		}
		f.mu.Lock()
		f.ended = map[string]bool{}
		f.mu.Unlock()
	}
}

// TestNothingElseIsAllowed tries, with a key of one organization, what its holder should not do:
// by each command, and by where an answer is to go.
func TestNothingElseIsAllowed(t *testing.T) {
	f := start(t)
	f.publish(t, orgA, 0, 3)
	f.publish(t, orgB, 0, 3)
	if err := f.ledger.KeepSubscriber(t.Context(), "key_00000000000000000000000000"); err != nil {
		t.Fatal(err)
	}
	nc, said := f.connect(t, "secret of A")
	own, own2 := streamOf(orgA), "."+eventstore.SinkConsumer
	inbox := nats.NewInbox()
	denied := func(what string) {
		t.Helper()
		if err := nc.Flush(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		select {
		case err := <-said:
			if !strings.Contains(err.Error(), "Permissions Violation") && !errors.Is(err, nats.ErrPermissionViolation) {
				t.Errorf("%s: %v", what, err)
			}
		case <-time.After(5 * time.Second):
			t.Errorf("%s is allowed", what)
		}
	}
	for _, subject := range []string{
		"keytrail.events." + string(orgA) + ".key.x", "keytrail.uses", "keytrail.streams." + string(orgA) + "." + string(sinkOf(orgA)), "x", inbox,
		"$JS.API.INFO", "$JS.API.STREAM.LIST", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.INFO." + own, "$JS.API.STREAM.DELETE." + own, "$JS.API.STREAM.PURGE." + own,
		"$JS.API.STREAM.UPDATE." + own, "$JS.API.STREAM.MSG.GET." + own, "$JS.API.STREAM.MSG.DELETE." + own, "$JS.API.DIRECT.GET." + own, "$JS.API.STREAM.SNAPSHOT." + own,
		"$JS.API.STREAM.CREATE.MINE", "$JS.API.CONSUMER.CREATE." + own, "$JS.API.CONSUMER.CREATE." + own + ".mine", "$JS.API.CONSUMER.CREATE." + own + ".mine.keytrail.>",
		"$JS.API.CONSUMER.DURABLE.CREATE." + own + ".mine", "$JS.API.CONSUMER.CREATE." + own + own2, "$JS.API.CONSUMER.DURABLE.CREATE." + own + own2, "$JS.API.CONSUMER.DELETE." + own + own2, "$JS.API.CONSUMER.PAUSE." + own + own2, "$JS.API.CONSUMER.RESET." + own + own2,
		"$JS.API.CONSUMER.NAMES." + own, "$JS.API.CONSUMER.LIST." + own, "$JS.API.CONSUMER.UNPIN." + own + own2,
		"$JS.API.CONSUMER.INFO." + own + ".other", "$JS.API.CONSUMER.MSG.NEXT." + own + ".other", "$JS.API.CONSUMER.MSG.NEXT." + own, "$JS.API.CONSUMER.MSG.NEXT." + own + own2 + ".x",
		"$JS.API.CONSUMER.MSG.NEXT." + streamOf(orgB) + own2, "$JS.API.CONSUMER.INFO." + streamOf(orgB) + own2, "$JS.ACK." + streamOf(orgB) + own2 + ".1.1.1.1.0",
		"$JS.API.CONSUMER.MSG.NEXT.KEYTRAIL_EVENTS.key_00000000000000000000000000", "$JS.API.CONSUMER.MSG.NEXT.KEYTRAIL_USES.key_00000000000000000000000000",
		"$JS.ACK." + own + own2, "$JS.ACK." + own + own2 + ".1.1.1.1", "$JS.ACK." + own + own2 + ".1.1.1.1.0.x", "$JS.ACK." + own + own2 + ".1.x.1.1.0", "$JS.FC." + own + own2,
		"$SYS.REQ.SERVER.PING", "$SYS.ACCOUNT.$G.x", "$SYS.REQ.ACCOUNT.PING", "_R_.x", "$NRG.x", "_INBOX.x", "$JS.API.>",
	} {
		if err := nc.PublishRequest(subject, inbox, nil); err != nil {
			t.Fatal(err)
		}
		denied("a request to " + subject)
	}
	next := "$JS.API.CONSUMER.MSG.NEXT." + own + own2
	for _, reply := range []string{"keytrail.events." + string(orgA) + ".key.x", "keytrail.uses", "keytrail.heartbeats.x", "$JS.API.STREAM.DELETE." + streamOf(orgB),
		"keytrail.streams." + string(orgB) + "." + string(sinkOf(orgB)), "_INBOX.short", "_INBOX.*", "_INBOX.>", inbox + ".>", inbox + ".*", "$SYS.x", "_R_.x"} {
		for _, subject := range []string{next, "$JS.API.CONSUMER.INFO." + own + own2, "$JS.ACK." + own + own2 + ".1.1.1.1.0"} {
			if err := nc.PublishRequest(subject, reply, []byte("+NXT")); err != nil {
				t.Fatal(err)
			}
			denied("an answer to " + reply)
		}
	}
	for _, subject := range []string{">", "*", "keytrail.>", "keytrail.events.>", "_INBOX.>", "_INBOX.*", "_INBOX.*.*", "_INBOX.short.>", "$SYS.>", "$JS.>", "$JS.EVENT.>", "*.>", "_R_.>", "$JS.ACK.>"} {
		if _, err := nc.SubscribeSync(subject); err != nil {
			t.Fatal(err)
		}
		denied("a subscription to " + subject)
	}
	if err := nc.PublishMsg(&nats.Msg{Subject: next, Reply: inbox, Header: nats.Header{"Nats-Trace-Dest": {"keytrail.uses"}}}); err != nil {
		t.Fatal(err)
	}
	denied("a header")
	js := eventstoretest.JetStream(t, f.server)
	for stream, want := range map[string]uint64{"KEYTRAIL_EVENTS": 0, "KEYTRAIL_USES": 0, "KEYTRAIL_HEARTBEATS": 0, own: 3, streamOf(orgB): 3} {
		s, err := js.Stream(t.Context(), stream)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.CachedInfo().State; got.LastSeq != want || got.Msgs != want {
			t.Errorf("%s has %d messages, up to %d", stream, got.Msgs, got.LastSeq)
		}
	}
	take(t, consumer(t, nc, own, eventstore.SinkConsumer), 3)
}

// BenchmarkSubscriber reads and acknowledges messages of 600 bytes over TLS.
func BenchmarkSubscriber(b *testing.B) {
	f := start(b)
	body := make([]byte, 600)
	const each = 5000
	nc, _ := f.connect(b, "secret of A")
	c := consumer(b, nc, streamOf(orgA), eventstore.SinkConsumer)
	for n := range b.N {
		b.StopTimer()
		for part := 0; part < each; part += 500 {
			var ids []string
			var bodies [][]byte
			for i := range 500 {
				ids, bodies = append(ids, fmt.Sprint(n, part+i)), append(bodies, body)
			}
			if _, err := f.streams[orgA].Publish(b.Context(), ids, bodies); err != nil {
				b.Fatal(err)
			}
		}
		b.StartTimer()
		for got := 0; got < each; {
			batch, err := c.Fetch(500)
			if err != nil {
				b.Fatal(err)
			}
			for m := range batch.Messages() {
				got++
				if err := m.Ack(); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
	b.ReportMetric(float64(b.N*each)/b.Elapsed().Seconds(), "messages/s")
}
