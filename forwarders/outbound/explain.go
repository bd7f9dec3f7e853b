package outbound

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"unicode"
)

// maxExplanation bounds the text of an error: a certificate or an answer can name thousands of hosts.
const maxExplanation = 300

// Explain is err, met on the way to host, as its operator may read it: without the addresses, of
// ours and of the resolver too, that errors of package net name, and without a URL, which may have
// credentials. An explanation is not explained again.
func Explain(host string, err error) error {
	if e := (*explained)(nil); errors.As(err, &e) {
		return e
	}
	return explain(host, "", err)
}

// explain says before err what had come until then.
func explain(host, before string, err error) error {
	return &explained{Printable(host+": "+before+reason(err), maxExplanation), err}
}

// explained is an error with another text.
type explained struct {
	text  string
	cause error
}

func (e *explained) Error() string { return e.text }
func (e *explained) Unwrap() error { return e.cause }

func reason(err error) string {
	var (
		dns *net.DNSError
		op  *net.OpError
		u   *url.Error
		t   interface{ Timeout() bool }
	)
	switch {
	case errors.Is(err, ErrNotAllowed):
		return notAllowed(err)
	case errors.As(err, &dns) && dns.IsNotFound:
		return "no such host"
	case errors.As(err, &dns):
		return "its name could not be resolved"
	case errors.Is(err, context.Canceled):
		return "cancelled"
	case errors.As(err, &u) && !u.Timeout():
		return reason(u.Err)
	case errors.As(err, &op) && !op.Timeout():
		return reason(op.Err)
	case errors.As(err, &t) && t.Timeout():
		return timeout(err)
	}
	return err.Error()
}

// notAllowed is what ErrNotAllowed's wrapper says, without the addresses around it.
func notAllowed(err error) string {
	text := err.Error()
	return text[strings.Index(text, ErrNotAllowed.Error()):]
}

// timeout says what did not come in time, as far as net/http tells.
func timeout(err error) string {
	text := err.Error()
	for _, of := range []string{"TLS handshake", "headers", "reading body"} {
		if strings.Contains(text, of) {
			return fmt.Sprintf("timeout (%s)", of)
		}
	}
	return "timeout"
}

// Printable is the first max bytes of text that came from outside, with a space for each character
// that a terminal or a log would not show.
func Printable(text string, max int) string {
	if len(text) > max {
		text = text[:max]
	}
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return ' '
		}
		return r
	}, text))
}
