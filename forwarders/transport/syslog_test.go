package transport

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	syslog "github.com/leodido/go-syslog/v4"
	"github.com/leodido/go-syslog/v4/octetcounting"
	"github.com/leodido/go-syslog/v4/rfc5424"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/forwarders/outbound"
)

// A syslogServer reads octet-counted messages of RFC 5424, with a parser that is not ours.
type syslogServer struct {
	net.Listener
	mu       sync.Mutex
	messages []*rfc5424.SyslogMessage
	conns    []net.Conn
	arrived  chan struct{} // receives for each message
}

func serveSyslog(t *testing.T, secure *tls.Config) *syslogServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if secure != nil {
		l = tls.NewListener(l, secure)
	}
	s := &syslogServer{Listener: l, arrived: make(chan struct{}, 1<<16)}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns = append(s.conns, conn)
			s.mu.Unlock()
			go func() {
				octetcounting.NewParser(syslog.WithListener(s.take(t)), syslog.WithMaxMessageLength(1<<20)).Parse(conn)
				_ = conn.Close()
			}()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); s.cut() })
	return s
}

func (s *syslogServer) take(t *testing.T) syslog.ParserListener {
	return func(r *syslog.Result) {
		if r.Error != nil {
			if !strings.Contains(r.Error.Error(), "EOF") && !strings.Contains(r.Error.Error(), "found ") {
				t.Error(r.Error)
			}
			return
		}
		s.mu.Lock()
		s.messages = append(s.messages, r.Message.(*rfc5424.SyslogMessage))
		s.mu.Unlock()
		s.arrived <- struct{}{}
	}
}

// cut ends all connections.
func (s *syslogServer) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.conns = nil
}

// all are the messages, when n more have come, or do not come.
func (s *syslogServer) all(n int) []*rfc5424.SyslogMessage {
	timeout := time.After(20 * time.Second)
	for came := 0; came < n; {
		select {
		case <-s.arrived:
			came++
		case <-timeout:
			n = 0
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.messages
}

func syslogSink(s *syslogServer, change func(*Receiver)) Receiver {
	r := Receiver{SinkDefinition: domain.SinkDefinition{Type: domain.SinkSyslog, URL: "tcp://" + s.Addr().String()}}
	if change != nil {
		change(&r)
	}
	return r
}

func TestASyslogMessage(t *testing.T) {
	server := serveSyslog(t, nil)
	s := newSender(t, syslogSink(server, func(r *Receiver) { r.Settings.AppName, r.Settings.EnterpriseID = "key trail", 32473 }))
	all := someEvents(2, `a"]\b`)
	all[1].Type, all[1].Body = "key.used", []byte("CEF:0|Keytrail|é")
	accepted(t, s.Send(t.Context(), all))
	host, _ := os.Hostname()
	for i, m := range server.all(2) {
		if m.Message == nil || *m.Message != string(all[i].Body) || *m.MsgID != all[i].Type || *m.Appname != "keytrail" || *m.Hostname != host || !m.Timestamp.Equal(all[i].Time) || m.ProcID != nil {
			t.Errorf("%+v", m)
		}
		if *m.Facility != 13 || *m.Severity != uint8(5+i) {
			t.Errorf("facility %d, severity %d", *m.Facility, *m.Severity)
		}
		data := fmt.Sprint(*m.StructuredData)
		if data != fmt.Sprintf(`map[keytrail@32473:map[id:%s org:org_a sequence:%d subject:a"]\b] origin:map[enterpriseId:32473 software:keytrail swVersion:test]]`, all[i].ID, i+1) {
			t.Error(data)
		}
	}
}

// TestWhatABrokenSyslogConnectionLoses: the last messages before it broke come again, once, and in order.
func TestWhatABrokenSyslogConnectionLoses(t *testing.T) {
	server := serveSyslog(t, nil)
	s := newSender(t, syslogSink(server, nil))
	all := someEvents(30, "a")
	for part := range 3 {
		accepted(t, s.Send(t.Context(), all[10*part:10*part+10]))
		server.all(10)
		server.cut()
		for tick := time.NewTicker(time.Millisecond); s.(*syslogSender).conn.ended.Load() == nil; <-tick.C { // the sender learns of it
		}
	}
	messages := server.all(10 + 20) // again: 10 before the second, 20 before the third
	want := append(append(append(append([]Event(nil), all[:10]...), all[:20]...), all[:20]...), all[20:]...)
	if len(messages) != len(want) {
		t.Fatalf("%d messages", len(messages))
	}
	for i, m := range messages {
		if *m.Message != string(want[i].Body) {
			t.Fatalf("message %d is %s instead of %s", i, *m.Message, want[i].Body)
		}
	}
}

// TestSyslogKeepsNoMoreThanItMay bounds what is sent again.
func TestSyslogKeepsNoMoreThanItMay(t *testing.T) {
	server := serveSyslog(t, nil)
	s := newSender(t, syslogSink(server, nil)).(*syslogSender)
	all := someEvents(40, "a")
	for i := range all {
		all[i].Body = make([]byte, 100<<10)
		for b := range all[i].Body {
			all[i].Body[b] = 'x'
		}
		accepted(t, s.Send(t.Context(), all[i:i+1]))
	}
	sum := 0
	for _, f := range s.recent {
		sum += len(f.text)
	}
	if sum != s.held || sum > resendBytes || sum < resendBytes/2 {
		t.Errorf("%d bytes are kept, %d counted", sum, s.held)
	}
}

// TestASyslogReceiverThatTakesNothing has its Send fail.
func TestASyslogReceiverThatTakesNothing(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = conn.(*net.TCPConn).SetReadBuffer(4096)
			defer conn.Close()
		}
	}()
	s := newSender(t, syslogSink(&syslogServer{Listener: l}, nil))
	all := someEvents(100, "a")
	for i := range all {
		all[i].Body = make([]byte, 100<<10)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if r := s.Send(ctx, all); len(r.Failed) != len(all) || r.Failed[0].Kind != Again {
		t.Errorf("%d failed", len(r.Failed))
	}
}

func TestSyslogOverTLS(t *testing.T) {
	ca, own, theirs := testCertificates(t)
	server := serveSyslog(t, &tls.Config{Certificates: []tls.Certificate{own}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool})
	sink := func(change func(*Receiver)) Receiver {
		return syslogSink(server, func(r *Receiver) {
			r.URL, r.Settings.CA = "tls://"+server.Addr().String(), ca.pem
			r.Credentials.ClientCertificate, r.Credentials.ClientKey = theirs.certificate, theirs.key
			change(r)
		})
	}
	accepted(t, newSender(t, sink(func(*Receiver) {})).Send(t.Context(), someEvents(10, "a")))
	server.all(10)
	for what, change := range map[string]func(*Receiver){
		"no authority":   func(r *Receiver) { r.Settings.CA = "" },
		"no certificate": func(r *Receiver) { r.Credentials.ClientCertificate, r.Credentials.ClientKey = "", "" },
		"plain text":     func(r *Receiver) { r.URL = "tcp://" + server.Addr().String() },
	} {
		s := newSender(t, sink(change))
		if r := s.Send(t.Context(), someEvents(1, "a")); len(r.Failed) == 0 {
			t.Errorf("%s: it is taken", what)
		}
	}
	strict, err := New(sink(func(*Receiver) {}), Environment{Outbound: outbound.Policy{}})
	if err != nil {
		t.Fatal(err)
	}
	if r := strict.Send(t.Context(), someEvents(1, "a")); len(r.Failed) != 1 || !strings.Contains(r.Failed[0].Text, "not allowed") {
		t.Errorf("%+v", r.Failed[0])
	}
}
