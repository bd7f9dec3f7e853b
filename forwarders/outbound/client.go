package outbound

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// Bounds of a request. Receivers of webhooks are given 15 to 30 s by their specification.
const (
	headerTimeout = 20 * time.Second // from the request's end to the answer's headers
	wholeTimeout  = 30 * time.Second // for all of it, an answer that trickles in included
	idleTimeout   = 30 * time.Second // of a connection between requests; then a new one, and its name resolved anew
	maxHeader     = 16 << 10         // of an answer
	maxAnswer     = 64 << 10         // of its body; the rest is not read, nor let in: HTTP/2 would take 4 MiB of each answer
	// maxConnections is for one receiver: as many deliveries as go on at once.
	maxConnections = 64
	// http2Ping finds a dead connection that carries requests, which a timeout would find too, but
	// would leave the next ones on it.
	http2Ping = 10 * time.Second
)

// A Client makes requests of one receiver. It follows no redirect, goes through no proxy, keeps no
// cookies, and asks for no compressed answers.
type Client struct {
	http http.Client
	host string
}

// Client is a client for the receiver at u: over TLS for https, in plain text for http, and so only
// to p's networks.
func (p Policy) Client(u *url.URL, c Certificates) (*Client, error) {
	config, err := c.TLS()
	if err != nil {
		return nil, err
	}
	dialer := p.Dialer()
	switch {
	case u.Scheme == "http":
		dialer = p.PlainDialer()
	case u.Scheme != "https":
		return nil, fmt.Errorf("%q is no scheme of a receiver: must be https, or http within %s", u.Scheme, p.setting())
	}
	return &Client{host: u.Host, http: newHTTPClient(newTransport(dialer, config))}, nil
}

func newTransport(d *Dialer, config *tls.Config) *http.Transport {
	return &http.Transport{
		DialContext:            d.DialContext,
		TLSClientConfig:        config,
		TLSHandshakeTimeout:    tlsTimeout,
		ResponseHeaderTimeout:  headerTimeout,
		MaxResponseHeaderBytes: maxHeader,
		MaxConnsPerHost:        maxConnections,
		MaxIdleConns:           maxConnections,
		MaxIdleConnsPerHost:    maxConnections,
		IdleConnTimeout:        idleTimeout,
		DisableCompression:     true, // a small answer could become a large one
		ForceAttemptHTTP2:      true, // which a DialContext of one's own turns off
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: http2Ping, PingTimeout: http2Ping, MaxReceiveBufferPerStream: maxAnswer, MaxReceiveBufferPerConnection: maxConnections * maxAnswer},
	}
}

func newHTTPClient(t http.RoundTripper) http.Client {
	return http.Client{
		Transport:     t,
		Timeout:       wholeTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// An Answer is a response, whatever its status.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte // the first 64 KiB
	Long   bool   // there was more, which was not read
}

// Do makes the request. An error is an explanation: there was no answer, or it broke off after its
// status.
func (c *Client) Do(ctx context.Context, r *http.Request) (Answer, error) {
	response, err := c.http.Do(r.WithContext(ctx))
	if err != nil {
		return Answer{}, Explain(c.host, err)
	}
	defer func() { _ = response.Body.Close() }()
	a := Answer{Status: response.StatusCode, Header: response.Header}
	a.Body, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return a, explain(c.host, fmt.Sprintf("answered %d, then: ", a.Status), err)
	}
	if a.Long = len(a.Body) > maxAnswer; a.Long {
		a.Body = a.Body[:maxAnswer]
	}
	return a, nil
}

// Close closes the connections that are idle.
func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	return nil
}
