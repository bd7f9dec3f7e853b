package transport

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/keytrail/keytrail/domain"
)

// anotherNATS is a NATS server that wants a user, with the stream siem on siem.>.
func anotherNATS(t *testing.T, secure *tls.Config) (*server.Server, jetstream.Stream) {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true, JetStream: true, StoreDir: t.TempDir(),
		Username: "keytrail", Password: secret, TLSConfig: secure, TLS: secure != nil, TLSTimeout: 5})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("it is not ready")
	}
	nc, err := nats.Connect("", nats.InProcessServer(s), nats.UserInfo("keytrail", secret))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "siem", Subjects: []string{"siem.>"}, MaxMsgSize: 100_000})
	if err != nil {
		t.Fatal(err)
	}
	return s, stream
}

func natsSink(s *server.Server, change func(*Receiver)) Receiver {
	r := Receiver{SinkDefinition: domain.SinkDefinition{Type: domain.SinkNATS, URL: "nats://" + s.Addr().String(), Settings: domain.SinkSettings{Subject: "siem.keytrail", Username: "keytrail"}}}
	r.Credentials.Password = secret
	if change != nil {
		change(&r)
	}
	return r
}

func TestANATSStreamHasEachEventOnce(t *testing.T) {
	server, stream := anotherNATS(t, nil)
	s := newSender(t, natsSink(server, nil))
	all := someEvents(1500, "a", "b")
	for _, part := range [][]Event{all[:1000], all[500:1500]} { // a part again, as after a restart
		accepted(t, s.Send(t.Context(), part))
	}
	info, err := stream.Info(t.Context())
	if err != nil || info.State.Msgs != 1500 {
		t.Fatalf("%+v, %v", info, err)
	}
	for i := range all {
		m, err := stream.GetMsg(t.Context(), uint64(i+1))
		if err != nil || string(m.Data) != string(all[i].Body) || m.Header.Get("Nats-Msg-Id") != all[i].ID {
			t.Fatalf("%+v, %v", m, err)
		}
	}
}

func TestNATSOverTLS(t *testing.T) {
	borrowed := httptest.NewTLSServer(nil) // its certificate is for 127.0.0.1
	defer borrowed.Close()
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: borrowed.Certificate().Raw}))
	server, _ := anotherNATS(t, &tls.Config{Certificates: borrowed.TLS.Certificates})
	sink := func(change func(*Receiver)) Receiver {
		return natsSink(server, func(r *Receiver) {
			r.URL, r.Settings.CA = "tls://"+server.Addr().String(), ca
			change(r)
		})
	}
	accepted(t, newSender(t, sink(func(*Receiver) {})).Send(t.Context(), someEvents(10, "a")))
	for what, change := range map[string]func(*Receiver){
		"no authority":       func(r *Receiver) { r.Settings.CA = "" },
		"a wrong password":   func(r *Receiver) { r.Credentials.Password = secret + "x" },
		"another's password": func(r *Receiver) { r.Settings.Username, r.Credentials.Password, r.Credentials.Token = "", "", secret },
	} {
		r := newSender(t, sink(change)).Send(t.Context(), someEvents(1, "a"))
		if len(r.Failed) != 1 || r.Failed[0].Kind != Again || strings.Contains(r.Failed[0].Text, secret) {
			t.Errorf("%s: %+v", what, r)
		}
	}
	plain, _ := anotherNATS(t, nil)
	if r := newSender(t, natsSink(plain, func(r *Receiver) { r.URL = "tls://" + plain.Addr().String() })).Send(t.Context(), someEvents(1, "a")); len(r.Failed) != 1 {
		t.Error("a server without TLS is sent the password in plain text")
	}
}

func TestWhatNATSRefuses(t *testing.T) {
	server, _ := anotherNATS(t, nil)
	s := newSender(t, natsSink(server, func(r *Receiver) { r.Settings.Subject = "nowhere" }))
	if r := s.Send(t.Context(), someEvents(2, "a")); len(r.Failed) != 2 || !strings.Contains(r.Failed[0].Text, "no JetStream stream has the subject nowhere") {
		t.Errorf("%+v", r)
	}
	s = newSender(t, natsSink(server, nil))
	all := someEvents(4, "a")
	all[1].Body, all[2].Body = make([]byte, 200_000), make([]byte, 2<<20)
	if r := s.Send(t.Context(), all); len(r.Failed) != 2 || r.Failed[1].Kind != Rejected || r.Failed[2].Kind != Rejected {
		t.Errorf("%+v", r.Failed[1])
	}
	server.Shutdown()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if r := s.Send(ctx, all[:1]); len(r.Failed) != 1 || r.Failed[0].Kind != Again {
		t.Errorf("%+v", r)
	}
}
