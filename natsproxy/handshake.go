package natsproxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/internal/inflight"
)

// A client is one connection of a subscriber.
type client struct {
	proxy  *Proxy
	conn   net.Conn
	ip     netip.Addr
	in     *bufio.Reader // of conn
	reader Reader
	hello  hello
	budget *rate.Limiter // that all clients of its organization share

	server   net.Conn // its connection inside the server
	fromThat *bufio.Reader
	open     subscriptions

	mu    sync.Mutex // of writing to conn
	ended bool       // the last was written
}

// maxControlLine bounds a line of the protocol, as NATS servers do.
const maxControlLine = 4096

// maxPayload bounds what a client sends in one message: a request to pull, or an acknowledgement.
const maxPayload = 4096

// A hello is what CONNECT says, as far as it matters here.
type hello struct {
	Verbose      bool   `json:"verbose"`
	Headers      bool   `json:"headers"`
	NoResponders bool   `json:"no_responders"`
	Password     string `json:"pass,omitempty"`
	Token        string `json:"auth_token,omitempty"`
}

// authenticate secures the connection, reads the client's key, and counts the client among the
// authenticated ones. Whatever is wrong with a key, the answer is the same.
func (c *client) authenticate(ctx context.Context) bool {
	leave, ok := c.enterUnauthenticated()
	if !ok {
		c.proxy.refused.WithLabelValues(reasonLimit).Inc()
		return false
	}
	defer leave()
	if err := c.greet(ctx); err != nil {
		return false // a port scan, a client without TLS
	}
	ctx, cancel := context.WithTimeout(ctx, authTimeout)
	defer cancel()
	reader, err := c.proxy.Authenticate(ctx, c.secret(), c.ip)
	var refusal *domain.Error
	switch {
	case err == nil:
		c.reader, c.hello.Password, c.hello.Token = reader, "", ""
	case errors.As(err, &refusal) && refusal.Kind != domain.Unavailable:
		wait(ctx, refusalDelay)
		return c.refuse(reasonUnauthorized, errUnauthorized)
	default:
		return c.refuse(reasonUnavailable, errUnavailable)
	}
	if limit := c.proxy.enter(c); limit != "" {
		return c.refuse(reasonLimit, limit)
	}
	return true
}

func (c *client) secret() string {
	if c.hello.Password != "" {
		return c.hello.Password
	}
	return c.hello.Token
}

// enterUnauthenticated takes one of the places for connections that have not shown a key.
func (c *client) enterUnauthenticated() (leave func(), ok bool) {
	p, holder := c.proxy, inflight.Holder(c.ip)
	if p.unauthenticatedByIP.Enter(holder) > maxUnauthenticatedPerIP {
		p.unauthenticatedByIP.Leave(holder)
		return nil, false
	}
	select {
	case p.unauthenticated <- struct{}{}:
		return func() { <-p.unauthenticated; p.unauthenticatedByIP.Leave(holder) }, true
	default:
		p.unauthenticatedByIP.Leave(holder)
		return nil, false
	}
}

// info is what a server says first. It names no address and no version of ours.
const info = `INFO {"server_id":"KEYTRAIL","server_name":"keytrail","version":"2.15.0","proto":1,"headers":true,"auth_required":true,"tls_required":%t,"max_payload":%d,"jetstream":true}` + "\r\n"

// greet says INFO, in plain text as NATS servers do, begins TLS, and reads CONNECT.
func (c *client) greet(ctx context.Context) error {
	if err := c.conn.SetDeadline(time.Now().Add(authTimeout)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(c.conn, info, c.proxy.TLS != nil, maxPayload); err != nil {
		return err
	}
	if c.proxy.TLS != nil {
		secure := tls.Server(c.conn, c.proxy.TLS)
		if err := secure.HandshakeContext(ctx); err != nil {
			return err
		}
		c.conn = secure
	}
	c.in = bufio.NewReaderSize(c.conn, maxControlLine)
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return err
	}
	verb, argument, _ := bytes.Cut(line, []byte(" "))
	if !strings.EqualFold(string(verb), "CONNECT") {
		return errProtocol
	}
	return json.Unmarshal(argument, &c.hello)
}

// refuse writes the error that the connection ends with.
func (c *client) refuse(reason, text string) bool {
	c.proxy.refused.WithLabelValues(reason).Inc()
	c.end(text)
	return false
}

// connect makes the client's connection inside the server. It has all rights there: what passes
// on to it is for command.judge to say.
func (c *client) connect() (err error) {
	if c.server, err = c.proxy.Dial(); err != nil {
		return err
	}
	if err := c.server.SetDeadline(time.Now().Add(authTimeout)); err != nil {
		return err
	}
	c.fromThat = bufio.NewReaderSize(c.server, 32<<10)
	if _, err := c.fromThat.ReadSlice('\n'); err != nil { // its INFO
		return err
	}
	options, err := json.Marshal(struct {
		hello
		Protocol int    `json:"protocol"` // 0: the server sends no second INFO
		Name     string `json:"name"`
		Lang     string `json:"lang"`
	}{c.hello, 0, "subscriber " + c.reader.Key, "keytrail"})
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(c.server, "CONNECT %s\r\n", options); err != nil {
		return err
	}
	c.open.open = map[string]subscription{}
	return c.server.SetDeadline(time.Time{})
}
