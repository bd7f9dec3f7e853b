package api

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/keytrail/keytrail/domain"
)

// identityHeaders say whose a request is that may pass.
var identityHeaders = map[string]string{
	"X-Keytrail-Key-Id":      "The key; empty: it is a session.",
	"X-Keytrail-Session-Id":  "The session; empty: it is a key.",
	"X-Keytrail-Role":        "Of a session: the user's role.",
	"X-Keytrail-Org-Id":      "Its organization.",
	"X-Keytrail-Owner":       "Its owner, percent-encoded; of a session the user's id.",
	"X-Keytrail-Scopes":      "Its scopes, separated by spaces.",
	"X-Keytrail-Keyspace":    "Its keyspace.",
	"X-Keytrail-Environment": "Its environment.",
	"X-Keytrail-Name":        "Its name, percent-encoded; of a session the user's e-mail address.",
	"X-Keytrail-Metadata":    "Its metadata, as JSON in ASCII; empty if that is longer than 4 KiB.",
	"X-Keytrail-Outcome":     "VALID",
}

// maxMetadataHeader bounds the metadata in a header: proxies take heads of 8 KiB, some of 4.
const maxMetadataHeader = 4 << 10

// identify says whose the request is. All of the headers are set, be they empty, so that a
// gateway which copies them leaves none that its client has sent.
func (a *authorization) identify(h http.Header) {
	c := &a.answer.Credential
	key := string(c.Key)
	if c.Session != "" {
		key = ""
	}
	values := [...]string{key, string(c.Session), c.Role, string(c.Org), url.PathEscape(c.Owner), strings.Join(c.Scopes, " "), c.Keyspace, c.Environment, url.PathEscape(c.Name),
		metadataHeader(c.Metadata), string(domain.UseValid)}
	for i, name := range [len(values)]string{"X-Keytrail-Key-Id", "X-Keytrail-Session-Id", "X-Keytrail-Role", "X-Keytrail-Org-Id", "X-Keytrail-Owner", "X-Keytrail-Scopes", "X-Keytrail-Keyspace", "X-Keytrail-Environment",
		"X-Keytrail-Name", "X-Keytrail-Metadata", "X-Keytrail-Outcome"} {
		h[name] = values[i : i+1 : i+1] // the names are canonical
	}
}

// metadataHeader is a JSON object in ASCII, "" if that is too long.
func metadataHeader(metadata string) string {
	text := asciiJSON(metadata)
	if len(text) > maxMetadataHeader {
		return ""
	}
	return text
}
