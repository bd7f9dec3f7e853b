package api

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/keytrail/keytrail/domain"
)

// An originalRequest is what a gateway's client has asked for.
type originalRequest struct {
	method string
	path   string // escaped; "": not known
	query  string
}

// The headers in which gateways say it, for each of which a client may have sent another one.
var (
	originalMethods = []string{"X-Forwarded-Method", "X-Original-Method"}
	originalURIs    = []string{"X-Forwarded-Uri", "X-Original-Uri", "X-Original-Url"}
)

// originalRequestOf is what a trusted gateway says in headers; of one that says nothing, as Envoy,
// and of a peer that is no trusted proxy, it is the request's own method and the path below
// the keyspace.
func originalRequestOf(r *http.Request, below string, trusted bool) (originalRequest, error) {
	o := originalRequest{method: r.Method, path: below}
	if below != "" {
		o.query = r.URL.RawQuery
	}
	if !trusted {
		return o, nil
	}
	method, err := agreed(r.Header, originalMethods, func(s string) string { return s })
	if err != nil {
		return o, err
	}
	uri, err := agreed(r.Header, originalURIs, requestTarget)
	if err != nil {
		return o, err
	}
	if method != "" {
		o.method = method
	}
	if uri != "" {
		o.path, o.query, _ = strings.Cut(uri, "?")
	}
	return o, nil
}

// agreed is what the headers with one of the names say, each once and all the same: a client
// that adds one which its gateway does not set cannot replace the other. "": there is none.
func agreed(h http.Header, names []string, read func(string) string) (said string, err error) {
	for _, name := range names {
		values := h[name]
		switch {
		case len(values) == 0, len(values) == 1 && values[0] == "":
			continue
		case len(values) > 1, said != "" && said != read(values[0]):
			return "", domain.InvalidField(name, "must be sent once, and say the same as others of its kind")
		}
		said = read(values[0])
	}
	return said, nil
}

// requestTarget is the path and query of a URL, which some gateways send in full.
func requestTarget(url string) string {
	scheme, rest, absolute := strings.Cut(url, "://")
	if !absolute || scheme != "http" && scheme != "https" {
		return url
	}
	if at := strings.IndexAny(rest, "/?"); at >= 0 && rest[at] == '/' {
		return rest[at:]
	} else if at >= 0 {
		return "/" + rest[at:]
	}
	return "/"
}

// Bounds of what is recorded of a request.
const (
	maxMethod   = 20
	maxResource = 512
)

// resource is the request as the trail has it, like GET /v1/orders: without the query, and
// without the credential, should the path have it, too. "": the path is not known.
func (o originalRequest) resource(credential string) string {
	if o.path == "" {
		return ""
	}
	b := appendPrintable(make([]byte, 0, 128), o.method, maxMethod)
	return string(appendPrintable(append(b, ' '), withoutSecret(o.path, credential), maxResource))
}

// withoutSecret is text that may have a presented secret in it, percent-encoded or not, without that.
func withoutSecret(text, secret string) string {
	if secret == "" {
		return text
	}
	if plain, err := url.PathUnescape(text); err == nil && strings.Count(plain, secret) > strings.Count(text, secret) {
		text = string(appendPrintable(nil, plain, 3*len(plain)))
	}
	return strings.ReplaceAll(text, secret, "[secret]")
}

// appendPrintable appends s until b has most bytes, and no part of an escape. All but printable
// ASCII without spaces is percent-encoded, as clients do it with most of that already.
func appendPrintable(b []byte, s string, most int) []byte {
	const hex = "0123456789ABCDEF"
	for i := range len(s) {
		c := s[i]
		plain := c > ' ' && c <= '~'
		if room := most - len(b); room < 1 || room < 3 && (!plain || c == '%') {
			break
		}
		if plain {
			b = append(b, c)
		} else {
			b = append(b, '%', hex[c>>4], hex[c&15])
		}
	}
	return b
}
