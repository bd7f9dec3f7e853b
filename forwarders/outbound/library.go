package outbound

import (
	"errors"
	"io"
	"net/http"
)

// errLong is of an answer that has more than maxAnswer bytes.
var errLong = errors.New("the answer has more than 64 KiB")

// HTTPClient is a client for libraries that make their own requests, of many hosts: over TLS for
// https, in plain text for http, and so only to p's networks. It has a Client's bounds; reading more
// of an answer than these fails.
func (p Policy) HTTPClient() *http.Client {
	config, _ := Certificates{}.TLS() // without any there is nothing to refuse
	c := newHTTPClient(&bySchemes{secure: newTransport(p.Dialer(), config), plain: newTransport(p.PlainDialer(), config)})
	return &c
}

// bySchemes bounds the answers of one transport for each scheme.
type bySchemes struct{ secure, plain *http.Transport }

func (t *bySchemes) RoundTrip(r *http.Request) (*http.Response, error) {
	through := t.secure
	if r.URL.Scheme == "http" {
		through = t.plain
	}
	response, err := through.RoundTrip(r)
	if err != nil {
		return nil, Explain(r.URL.Host, err)
	}
	response.Body = &boundedBody{ReadCloser: response.Body, left: maxAnswer}
	return response, nil
}

// CloseIdleConnections closes the connections that are idle.
func (t *bySchemes) CloseIdleConnections() {
	t.secure.CloseIdleConnections()
	t.plain.CloseIdleConnections()
}

// A boundedBody fails where a longer answer would go on.
type boundedBody struct {
	io.ReadCloser
	left int
}

func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left+1)])
	if n > b.left {
		n, b.left = b.left, 0
		return n, errLong
	}
	b.left -= n
	return n, err
}
