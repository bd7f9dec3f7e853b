package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/keytrail/keytrail/forwarders/outbound"
)

// Bounds of a connection to a syslog receiver.
const (
	syslogWriteTime = 10 * time.Second
	syslogPort      = "6514" // RFC 5425
	// What was sent within resendWithin before a connection broke, resendBytes at most, is sent
	// again over the next one.
	resendWithin = 10 * time.Second
	resendBytes  = 1 << 20
	maxChatter   = 64 << 10 // of a receiver, which has nothing to say
	// The first Send over a connection waits so long for the receiver to end it: with TLS 1.3 one
	// that does not take the client's certificate says so when the client believes to be connected.
	settleTime = 250 * time.Millisecond
)

// A syslogSender writes messages of RFC 5424 over TLS, in frames of RFC 5425: their length, a space,
// and they themselves.
//
// The protocol has no acknowledgement. A Send succeeds when the receiver's system has everything
// (where that can be asked: Linux), which is not yet the receiver's program. So the last messages
// before a connection broke are sent again over the next one. What a receiver accepted, and lost
// without its connection breaking, is lost.
type syslogSender struct {
	address string
	dial    func(ctx context.Context, network, address string) (net.Conn, error)
	header  syslogHeader

	conn   *syslogConn // nil: not connected
	broke  time.Time   // when the connection before did
	recent []sentFrame // in their order
	held   int         // bytes of recent
}

type sentFrame struct {
	text []byte
	at   time.Time
}

func newSyslog(r Receiver, e Environment) (Sender, error) {
	u, err := url.Parse(r.URL)
	if err != nil || u.Hostname() == "" || u.User != nil {
		return nil, errSyslogURL
	}
	s := &syslogSender{address: u.Host, header: newSyslogHeader(r, e)}
	if u.Port() == "" {
		s.address = net.JoinHostPort(u.Hostname(), syslogPort)
	}
	switch u.Scheme {
	case "tls":
		config, err := outbound.Certificates{CA: r.Settings.CA, Client: r.Credentials.ClientCertificate, ClientKey: r.Credentials.ClientKey}.TLS()
		if err != nil {
			return nil, err
		}
		s.dial = tlsDialer{e.Outbound.Dialer(), config}.DialContext
	case "tcp":
		s.dial = e.Outbound.PlainDialer().DialContext
	default:
		return nil, errSyslogURL
	}
	return s, nil
}

var errSyslogURL = errors.New("the URL is not one like tls://siem.example.com:6514, without credentials")

// Limits let many messages share a look at what the receiver's system has.
func (*syslogSender) Limits() Limits {
	return Limits{Events: 500, Bytes: 512 << 10, Linger: 10 * time.Millisecond}
}

func (s *syslogSender) Close() error {
	if s.conn == nil {
		return nil
	}
	err := s.conn.Close()
	s.conn = nil
	return err
}

func (s *syslogSender) Send(ctx context.Context, events []Event) Result {
	if err := s.send(ctx, events); err != nil {
		s.broke = time.Now()
		_ = s.Close()
		return All(len(events), &Failure{Text: outbound.Explain(s.address, err).Error()})
	}
	return Result{}
}

func (s *syslogSender) send(ctx context.Context, events []Event) error {
	text, err := s.connect(ctx)
	if err != nil {
		return err
	}
	frames := make([]sentFrame, len(events))
	for i := range events {
		frames[i] = sentFrame{text: s.header.frame(&events[i]), at: time.Now()}
		text = append(text, frames[i].text...)
	}
	deadline := time.Now().Add(syslogWriteTime)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := s.conn.SetWriteDeadline(deadline); err != nil {
		return err
	}
	if _, err := s.conn.Write(text); err != nil {
		return err
	}
	if err := s.conn.drain(ctx, deadline); err != nil {
		return err
	}
	s.keep(frames)
	return nil
}

// connect connects if there is no connection, or the receiver has ended it, and gives what is to
// be sent again.
func (s *syslogSender) connect(ctx context.Context) (again []byte, err error) {
	if s.conn != nil {
		ended := s.conn.ended.Load()
		if ended == nil {
			return nil, nil
		}
		s.broke = *ended
		_ = s.Close()
	}
	conn, err := s.dial(ctx, "tcp", s.address)
	if err != nil {
		return nil, err
	}
	s.conn = newSyslogConn(conn)
	for _, f := range s.recent {
		if s.broke.Sub(f.at) < resendWithin {
			again = append(again, f.text...)
		}
	}
	return again, nil
}

// keep remembers frames that were sent, and forgets those that are old.
func (s *syslogSender) keep(frames []sentFrame) {
	now := time.Now()
	for _, f := range frames {
		s.held += len(f.text)
	}
	s.recent = append(s.recent, frames...)
	old := 0
	for _, f := range s.recent {
		if s.held <= resendBytes && now.Sub(f.at) < resendWithin {
			break
		}
		s.held -= len(f.text)
		old++
	}
	s.recent = append([]sentFrame(nil), s.recent[old:]...)
}

// A syslogConn is a connection on which the receiver says nothing.
type syslogConn struct {
	net.Conn
	ended   atomic.Pointer[time.Time] // when the receiver did; nil: it has not
	settled time.Time                 // before, a Send waits
}

func newSyslogConn(conn net.Conn) *syslogConn {
	c := &syslogConn{Conn: conn, settled: time.Now().Add(settleTime)}
	go func() {
		_, _ = io.Copy(io.Discard, io.LimitReader(conn, maxChatter))
		now := time.Now()
		c.ended.Store(&now)
	}()
	return c
}

var errSyslogEnded = errors.New("the receiver ended the connection")

// drain waits until the receiver's system has all that was written.
func (c *syslogConn) drain(ctx context.Context, deadline time.Time) error {
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		if c.ended.Load() != nil {
			return errSyslogEnded
		}
		if unacknowledged(c.Conn) == 0 && time.Now().After(c.settled) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// A syslogHeader writes what messages have before the event.
type syslogHeader struct {
	host, app  string
	origin     string // the structured data that says what sends
	enterprise int    // 0: none
}

func newSyslogHeader(r Receiver, e Environment) syslogHeader {
	h := syslogHeader{host: "-", app: "keytrail", enterprise: r.Settings.EnterpriseID}
	if name, err := os.Hostname(); err == nil {
		h.host = syslogName(name, 255)
	}
	if r.Settings.AppName != "" {
		h.app = syslogName(r.Settings.AppName, 48)
	}
	h.origin = fmt.Sprintf("[origin software=%s swVersion=%s", syslogValue("keytrail"), syslogValue(e.Version))
	if h.enterprise != 0 {
		h.origin += fmt.Sprintf(" enterpriseId=%s", syslogValue(strconv.Itoa(h.enterprise)))
	}
	h.origin += "]"
	return h
}

// Priorities: the facility is log audit (13).
const (
	syslogAudit  = 13 * 8
	syslogNotice = 5 // a change
	syslogInfo   = 6 // a use
)

// frame is an event as a message in its frame. The message has no byte order mark: that would say
// that it is UTF-8, as all of it is, and receivers take it for a part of the JSON.
func (h *syslogHeader) frame(e *Event) []byte {
	priority := syslogAudit + syslogNotice
	if e.Type == "key.used" {
		priority = syslogAudit + syslogInfo
	}
	m := fmt.Appendf(nil, "<%d>1 %s %s %s - %s %s", priority, e.Time.UTC().Format("2006-01-02T15:04:05.000Z"), h.host, h.app, syslogName(e.Type, 32), h.origin)
	if h.enterprise != 0 {
		m = fmt.Appendf(m, "[keytrail@%d id=%s org=%s subject=%s sequence=%s]", h.enterprise, syslogValue(e.ID), syslogValue(string(e.Org)), syslogValue(e.Key), syslogValue(e.Sequence))
	}
	m = append(append(m, ' '), e.Body...)
	return append(strconv.AppendInt(nil, int64(len(m)), 10), append([]byte(" "), m...)...)
}

// syslogName is a text as a name in the header: printable ASCII without spaces.
func syslogName(text string, max int) string {
	name := strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return -1
		}
		return r
	}, text)
	if name == "" {
		return "-"
	}
	return name[:min(len(name), max)]
}

var syslogEscapes = strings.NewReplacer(`"`, `\"`, `\`, `\\`, `]`, `\]`)

// syslogValue is a text as the value of a parameter of structured data.
func syslogValue(text string) string { return `"` + syslogEscapes.Replace(text) + `"` }
