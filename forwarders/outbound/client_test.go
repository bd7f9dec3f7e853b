package outbound

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

func contains(s, part string) bool { return strings.Contains(s, part) }

func prefixes(texts ...string) (all []netip.Prefix) {
	for _, t := range texts {
		all = append(all, netip.MustParsePrefix(t))
	}
	return all
}

var loopback = Policy{Networks: prefixes("127.0.0.0/8", "::1/128")}

// get asks the receiver at address.
func get(t *testing.T, p Policy, address string, c Certificates) (Answer, error) {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	client, err := p.Client(u, c)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	r, err := http.NewRequest("POST", address, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	return client.Do(t.Context(), r)
}

func caOf(s *httptest.Server) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
}

// TestPlainTextStaysInside: plain HTTP goes to --sink-networks only.
func TestPlainTextStaysInside(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "welcome") }))
	defer s.Close()
	if a, err := get(t, loopback, s.URL, Certificates{}); err != nil || a.Status != 200 || string(a.Body) != "welcome" {
		t.Errorf("within the networks: %d %q, %v", a.Status, a.Body, err)
	}
	_, err := get(t, Policy{}, s.URL, Certificates{})
	refused(t, err, "not allowed: a loopback address")
	_, err = get(t, Policy{}, "http://1.1.1.1/", Certificates{})
	refused(t, err, "1.1.1.1:80: not allowed: plain text outside of --sink-networks")
	if _, err := loopback.Client(&url.URL{Scheme: "ftp", Host: "h"}, Certificates{}); err == nil {
		t.Error("ftp is taken")
	}
}

func refused(t *testing.T, err error, says string) {
	t.Helper()
	if !errors.Is(err, ErrNotAllowed) || !contains(err.Error(), says) {
		t.Errorf("%v, want it to say %q", err, says)
	}
}

// TestRedirectsAreNotFollowed, to a metadata address or another.
func TestRedirectsAreNotFollowed(t *testing.T) {
	s := httptest.NewServer(http.RedirectHandler("http://169.254.169.254/latest/", http.StatusFound))
	defer s.Close()
	a, err := get(t, loopback, s.URL, Certificates{})
	if err != nil || a.Status != 302 {
		t.Errorf("%d, %v", a.Status, err)
	}
}

// TestProxyOfTheEnvironmentIsNotUsed: a proxy would dial what we must not.
func TestProxyOfTheEnvironmentIsNotUsed(t *testing.T) {
	client, err := loopback.Client(&url.URL{Scheme: "https", Host: "h"}, Certificates{})
	if err != nil || client.http.Transport.(*http.Transport).Proxy != nil {
		t.Errorf("a proxy is used, or %v", err)
	}
}

// TestNameThatChanges: a name that was harmless when the sink was made, and points inside later, is
// refused by the address that is dialled; and its address is not told.
func TestNameThatChanges(t *testing.T) {
	var lookups atomic.Int32
	resolver := resolve(t, func() netip.Addr {
		if lookups.Add(1) == 1 {
			return netip.MustParseAddr("127.0.0.1")
		}
		return netip.MustParseAddr("10.20.30.40")
	})
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer s.Close()
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	p := Policy{Networks: loopback.Networks, Resolver: resolver}
	address := "http://rebind.example:" + port
	if _, err := get(t, p, address, Certificates{}); err != nil {
		t.Fatal(err)
	}
	_, err := get(t, p, address, Certificates{})
	refused(t, err, "rebind.example:"+port+": not allowed: a private address")
	if err != nil && contains(err.Error(), "10.20") {
		t.Errorf("%v tells the address", err)
	}
}

// resolve is a resolver that answers each question for an IPv4 address with what next says.
func resolve(t *testing.T, next func() netip.Addr) *net.Resolver {
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	go func() {
		buffer := make([]byte, 512)
		for {
			n, from, err := server.ReadFrom(buffer)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buffer[:n]) != nil {
				continue
			}
			m.Response = true
			if q := m.Questions[0]; q.Type == dnsmessage.TypeA {
				m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class}, Body: &dnsmessage.AResource{A: next().As4()}}}
			}
			m.Additionals = nil
			answer, _ := m.Pack()
			_, _ = server.WriteTo(answer, from)
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", server.LocalAddr().String())
	}}
}

// TestCertificates: the receiver's is checked, against the sink's own CA if it has one; ours is shown.
func TestCertificates(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, len(r.TLS.PeerCertificates))
	}))
	s.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	client, key := selfSigned(t, "client.example", time.Now().Add(time.Hour))
	a, err := get(t, loopback, s.URL, Certificates{CA: caOf(s), Client: client, ClientKey: key})
	if err != nil || string(a.Body) != "1" {
		t.Errorf("with both: %q, %v", a.Body, err)
	}
	_, err = get(t, loopback, s.URL, Certificates{})
	says(t, err, "certificate signed by unknown authority")
	_, err = get(t, loopback, strings.Replace(s.URL, "127.0.0.1", "localhost", 1), Certificates{CA: caOf(s)})
	says(t, err, "certificate is valid for")

	for _, wrong := range []Certificates{{CA: "x"}, {Client: client}, {Client: client, ClientKey: client}, {ClientKey: key}} {
		if _, err := wrong.TLS(); err == nil || contains(err.Error(), "BEGIN") {
			t.Errorf("%v", err)
		}
	}
}

func says(t *testing.T, err error, what string) {
	t.Helper()
	if err == nil || !contains(err.Error(), what) {
		t.Errorf("%v, want it to say %q", err, what)
	}
}

// TestExpiredCertificate and an old TLS are refused.
func TestExpiredCertificate(t *testing.T) {
	certificate, key := selfSigned(t, "127.0.0.1", time.Now().Add(-time.Hour))
	pair, err := tls.X509KeyPair([]byte(certificate), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	s.StartTLS()
	defer s.Close()
	_, err = get(t, loopback, s.URL, Certificates{CA: certificate})
	says(t, err, "expired")

	old := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	old.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	old.StartTLS()
	defer old.Close()
	_, err = get(t, loopback, old.URL, Certificates{CA: caOf(old)})
	says(t, err, "protocol version")
}

func selfSigned(t *testing.T, host string, until time.Time) (certificate, key string) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: until.Add(-48 * time.Hour), NotAfter: until, IsCA: true, BasicConstraintsValid: true}
	if ip := net.ParseIP(host); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
}

// TestEndlessAnswer: 64 KiB of it are read, and no endless headers.
func TestEndlessAnswer(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		chunk := strings.Repeat("a", 4096)
		for r.Context().Err() == nil {
			if _, err := fmt.Fprint(w, chunk); err != nil {
				return
			}
		}
	}))
	defer s.Close()
	a, err := get(t, loopback, s.URL, Certificates{})
	if err != nil || len(a.Body) != maxAnswer || !a.Long {
		t.Errorf("%d bytes, long %v, %v", len(a.Body), a.Long, err)
	}
	headers := serve(t, func(c net.Conn) {
		fmt.Fprint(c, "HTTP/1.1 200 OK\r\n")
		for {
			if _, err := fmt.Fprintf(c, "X: %s\r\n", strings.Repeat("a", 1000)); err != nil {
				return
			}
		}
	})
	_, err = get(t, loopback, headers, Certificates{})
	says(t, err, "exceeded")
}

// TestEndlessAnswerOverHTTP2: what a receiver pushes waits at the receiver, not in our memory.
func TestEndlessAnswerOverHTTP2(t *testing.T) {
	pushed := make(chan int)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := 0
		for chunk := make([]byte, 4096); ; n += len(chunk) {
			if _, err := w.Write(chunk); err != nil || r.ProtoMajor != 2 {
				break
			}
		}
		pushed <- n
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	go func() { _, _ = get(t, loopback, s.URL, Certificates{CA: caOf(s)}) }()
	if n := <-pushed; n < maxAnswer || n > 4*maxAnswer {
		t.Errorf("%d bytes are taken", n)
	}
}

// serve answers each connection with raw bytes.
func serve(t *testing.T, answer func(net.Conn)) (address string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
					answer(c)
				}
			}()
		}
	}()
	return "http://" + l.Addr().String()
}

// TestAnswerThatBreaksOff is an error that says how far it came.
func TestAnswerThatBreaksOff(t *testing.T) {
	address := serve(t, func(c net.Conn) { fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of it") })
	a, err := get(t, loopback, address, Certificates{})
	says(t, err, "answered 200, then: unexpected EOF")
	if a.Status != 200 {
		t.Errorf("status %d", a.Status)
	}
}

// TestTrickle: an answer that comes a byte at a time ends with the time for all of it, in its
// headers or in its body.
func TestTrickle(t *testing.T) {
	for part, before := range map[string]string{"headers": "HTTP/1.1 200 OK\r\nX-Slow: ", "reading body": "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"} {
		address := serve(t, func(c net.Conn) {
			fmt.Fprint(c, before)
			for tick := time.NewTicker(5 * time.Millisecond); ; <-tick.C {
				if _, err := fmt.Fprint(c, "a"); err != nil {
					return
				}
			}
		})
		u, _ := url.Parse(address)
		client, err := loopback.Client(u, Certificates{})
		if err != nil {
			t.Fatal(err)
		}
		client.http.Timeout = 100 * time.Millisecond
		r, _ := http.NewRequest("POST", address, nil)
		_, err = client.Do(t.Context(), r)
		says(t, err, "timeout ("+part+")")
	}
}

// TestErrorsTellNothing: neither credentials in a URL, nor our address or the resolver's.
func TestErrorsTellNothing(t *testing.T) {
	closed := serve(t, func(net.Conn) {})
	_, err := get(t, loopback, strings.Replace(closed, "http://", "http://user:hunter2@", 1)+"/?token=hunter2", Certificates{})
	says(t, err, "EOF")
	if contains(err.Error(), "hunter2") {
		t.Error(err)
	}
	broken := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Addr: &net.UDPAddr{IP: net.IPv4(10, 0, 0, 53), Port: 53}, Err: errors.New("refused")}
	}}
	_, err = get(t, Policy{Resolver: broken}, "https://h.example/", Certificates{})
	if err == nil || err.Error() != "h.example:443: its name could not be resolved" {
		t.Error(err)
	}
}
