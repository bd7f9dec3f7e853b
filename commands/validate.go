package commands

import (
	"errors"
	"fmt"
	"go/token"
	"mime"
	"net/netip"
	"net/url"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-playground/validator/v10"

	"github.com/keytrail/keytrail/domain"
)

// A rule is a validate tag of ours, and what a refusal says of it.
type rule struct {
	tag   string
	holds func(reflect.Value) bool
	text  string
}

// Bounds of durations, which the tags of the library cannot spell.
const (
	maxWindow   = 720 * time.Hour
	maxOverlap  = 2160 * time.Hour
	maxTTL      = 87600 * time.Hour
	maxTokenTTL = 24 * time.Hour
)

var rules = []rule{
	{"keyspace_name", func(f reflect.Value) bool { return keyspaceName.MatchString(f.String()) && !isID(f.String()) },
		"must begin with a letter and be lower-case letters, digits, '-' and '_', and must not be an id"},
	{"role_name", func(f reflect.Value) bool { return keyspaceName.MatchString(f.String()) }, "must begin with a letter and be lower-case letters, digits, '-' and '_'"},
	{"route_path", func(f reflect.Value) bool {
		return routePath.MatchString(f.String()) && path.Clean(f.String()) == f.String()
	}, "must be a path like /api/auth/login, of letters, digits, '/', '_', '-' and '.'"},
	{"secret_text", func(f reflect.Value) bool { return metadataKey.MatchString(f.String()) || f.String() == "" }, "must be letters, digits, '_', '-' and '.'"},
	{"place", func(f reflect.Value) bool { return place.MatchString(f.String()) && !notPlaces.MatchString(f.String()) },
		"must be bearer, basic, header:NAME or query:NAME, and the header none that HTTP, proxies, cookies or this service use"},
	{"reply_case", func(f reflect.Value) bool { return slices.Contains(domain.ReplyCases(), domain.ReplyCase(f.String())) }, fmt.Sprintf("must be one of %s", domain.ReplyCases())},
	{"reply_header", func(f reflect.Value) bool {
		return headerName.MatchString(f.String()) && !ownHeaders.MatchString(f.String())
	}, "must be the name of a header that the service does not set itself"},
	{"sink_type", func(f reflect.Value) bool {
		return slices.Contains(domain.SinkTypeNames(), domain.SinkType(f.String()))
	}, fmt.Sprintf("must be one of %s", domain.SinkTypeNames())},
	{"event_type", func(f reflect.Value) bool {
		return slices.ContainsFunc(domain.EventTypes, func(t domain.EventType) bool { return t.Name == f.String() })
	}, "must be a type of event, like key.revoked"},
	{"sink_header", func(f reflect.Value) bool {
		return headerName.MatchString(f.String()) && !senderHeaders.MatchString(f.String())
	}, "must be the name of a header that the service does not set itself"},
	{"header_value", func(f reflect.Value) bool { return headerValue.MatchString(f.String()) }, "must be printable ASCII that does not begin or end with a space"},
	{"media_type", func(f reflect.Value) bool { return headerValue.MatchString(f.String()) && mediaType(f.String()) }, "must be a media type, like application/json or text/plain; charset=utf-8"},
	{"body_text", func(f reflect.Value) bool { return plain(strings.Map(lineBreak, f.String())) }, "must be valid UTF-8 without control characters but line breaks and tabs"},
	{"token_ttl", func(f reflect.Value) bool { return f.Int() == 0 || within(f, time.Second, maxTokenTTL) }, "must be from 1s to 24h"},
	{"text", func(f reflect.Value) bool { return plain(f.String()) }, "must be valid UTF-8 without control characters, those of bidirectional text and separators of lines included"},
	{"scope", func(f reflect.Value) bool { return domain.ValidScope(f.String()) },
		"must be resource:action, resource:* or *, each word of letters, digits, '_', '-' and '.', in all at most 100 characters"},
	{"cidr_or_ip", func(f reflect.Value) bool { _, err := parseCIDR(f.String()); return err == nil }, "must be a network like 192.0.2.0/24 or 2001:db8::/32, or one address"},
	{"issuer", func(f reflect.Value) bool { u := webURL(f.String()); return u != nil && u.RawQuery == "" }, "must be a URL with https, or http for a provider in the service's --sso-networks, without query and fragment"},
	{"return_url", func(f reflect.Value) bool { return returnURL(f.String()) }, "must be a URL with https, or http on this machine, without fragment, code and error"},
	{"metakey", func(f reflect.Value) bool { return metadataKey.MatchString(f.String()) }, "a metadata name has letters, digits, '_', '-' and '.'"},
	{"printable", func(f reflect.Value) bool { return !strings.ContainsFunc(f.String(), unprintable) }, "must be printable ASCII without spaces"},
	{"reason", func(f reflect.Value) bool { return slices.Contains(domain.Reasons, domain.Reason(f.String())) }, fmt.Sprintf("must be one of %s", domain.Reasons)},
	{"ttl", func(f reflect.Value) bool { return f.Int() == 0 || within(f, time.Millisecond, maxTTL) }, "must be from 1ms to 87600h"},
	{"invitation_ttl", func(f reflect.Value) bool { return f.Int() == 0 || within(f, time.Minute, maxInvitationTTL) }, "must be from 1m to 720h"},
	{"overlap", func(f reflect.Value) bool { return within(f, 0, maxOverlap) }, "must be from 0s to 2160h"},
	{"window", func(f reflect.Value) bool {
		return within(f, time.Second, maxWindow) && f.Int()%int64(time.Second) == 0
	}, "must be whole seconds from 1s to 720h"},
	{"windows", func(f reflect.Value) bool { return distinctWindows(f.Interface().([]domain.RateLimit)) }, "each window can have one limit"},
	{"when", func(f reflect.Value) bool { return storable(f.Interface().(time.Time)) }, "must be a time of the years 1970 to 9999 in UTC"},
}

// texts are what a refusal says of each tag; those of bounds say the bound.
var texts = func() map[string]string {
	all := map[string]string{"required": "is required"}
	for _, r := range rules {
		all[r.tag] = r.text
	}
	return all
}()

var (
	routePath    = regexp.MustCompile(`^/[A-Za-z0-9_./-]*[A-Za-z0-9_-]$`)
	keyspaceName = regexp.MustCompile(`^[a-z][a-z0-9_-]*$`)
	place        = regexp.MustCompile(`^(bearer|basic|header:[A-Za-z][A-Za-z0-9-]{0,63}|query:[A-Za-z0-9_.-]{1,64})$`)
	headerName   = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]*$`)
	headerValue  = regexp.MustCompile(`^([!-~]([ -~]*[!-~])?)?$`)
	// notPlaces are headers that hold no key of a client's: a proxy may set, join or drop them,
	// Authorization has places of its own, and Cookie is what other sites make a browser send.
	notPlaces = regexp.MustCompile(`(?i)^header:(` + hopByHop + `|authorization|content-.*|cookie|expect|forwarded|host|proxy-.*|via|x-accel-.*|x-envoy-.*|x-forwarded-.*|x-keytrail-.*|x-original-.*|x-real-ip|x-request-id)$`)
	// ownHeaders are those that a reply cannot set: they frame it, steer a gateway, or are the
	// service's own, which knows their values.
	ownHeaders = regexp.MustCompile(`(?i)^(` + hopByHop + `|content-.*|date|proxy-.*|retry-after|set-cookie|x-accel-.*|x-envoy-.*|x-keytrail-.*|x-request-id|(x-)?ratelimit(-.*)?)$`)
)

// senderHeaders are those that a sink's requests have without its saying.
var senderHeaders = regexp.MustCompile(`(?i)^(` + hopByHop + `|accept-encoding|content-.*|cookie|expect|host|proxy-.*|user-agent|webhook-.*)$`)

// hopByHop are the headers of one connection, RFC 9110, section 7.6.1.
const hopByHop = `connection|keep-alive|te|trailer|transfer-encoding|upgrade`

var metadataKey = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)

// validate is the one validator; it is safe for concurrent use.
var validate = newValidator()

func newValidator() *validator.Validate {
	v := validator.New(validator.WithRequiredStructEnabled())
	v.RegisterTagNameFunc(func(f reflect.StructField) string {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		return name
	})
	for _, r := range rules {
		if err := v.RegisterValidation(r.tag, func(l validator.FieldLevel) bool { return r.holds(l.Field()) }, true); err != nil {
			panic(err) // two rules with one tag
		}
	}
	return v
}

// webURL is an absolute URL of HTTP without credentials and fragment; nil: it is none.
func webURL(s string) *url.URL {
	u, err := url.Parse(s)
	if err != nil || strings.ContainsFunc(s, unprintable) || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.User != nil || u.Opaque != "" || strings.Contains(s, "#") {
		return nil
	}
	return u
}

// returnURL reports whether a log-in may end at s: no one on the way may see the code, nor may s have
// parameters like those that are added to it.
func returnURL(s string) bool {
	u := webURL(s)
	if u == nil || strings.Contains(u.RawQuery, ";") || u.Scheme == "http" && !isLoopback(u.Hostname()) {
		return false
	}
	q, err := url.ParseQuery(u.RawQuery)
	return err == nil && !q.Has("code") && !q.Has("error") && !q.Has("error_description")
}

func isLoopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

// isID reports whether s is spelled like the id of a key, an organization or a sink. A keyspace with such a name
// would be taken for one where only the name of an aggregate tells its kind.
func isID(s string) bool {
	_, notKey := domain.ParseKeyID(s)
	_, notOrg := domain.ParseOrgID(s)
	_, notSink := domain.ParseSinkID(s)
	return notKey == nil || notOrg == nil || notSink == nil
}

// plain reports whether s is valid UTF-8 without control characters, those of bidirectional
// text and separators of lines and paragraphs included: with them a name can look like another
// one, or like another line of a log.
func plain(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control, unicode.Zl, unicode.Zp)
	})
}

// lineBreak leaves out what breaks lines.
func lineBreak(r rune) rune {
	if r == '\n' || r == '\r' || r == '\t' {
		return -1
	}
	return r
}

func mediaType(s string) bool {
	kind, _, err := mime.ParseMediaType(s)
	return err == nil && strings.Contains(kind, "/")
}

func unprintable(r rune) bool { return r <= ' ' || r > '~' }

// within reports whether a duration is from least to most.
func within(f reflect.Value, least, most time.Duration) bool {
	return f.Int() >= int64(least) && f.Int() <= int64(most)
}

// storable reports whether the ledger can have t, which it writes in UTC: RFC 3339 ends with
// the year 9999.
func storable(t time.Time) bool {
	year := t.UTC().Year()
	return t.IsZero() || year >= 1970 && year <= 9999
}

// valid holds a command's fields to their validate tags. The first fault becomes the
// refusal; it does not repeat what was sent.
func valid(command any) error {
	err := validate.Struct(command)
	var faults validator.ValidationErrors
	if !errors.As(err, &faults) {
		return err
	}
	f := faults[0]
	_, field, _ := strings.Cut(f.Namespace(), ".")
	return domain.InvalidField(jsonPath(field), explain(f))
}

// mapKey is the end of a path of the validator that is the key of a map.
var mapKey = regexp.MustCompile(`(?s)\[([0-9]*[^0-9\]].*|)\]$`)

// jsonPath is a path of the validator without the embedded structs, which have no JSON name. It
// ends before what is the caller's own text: a name in metadata, or one that is not plain.
func jsonPath(path string) string {
	key := ""
	if m := mapKey.FindStringSubmatchIndex(path); m != nil {
		path, key = path[:m[0]], path[m[2]:m[3]]
	}
	parts := slices.DeleteFunc(strings.Split(path, "."), func(p string) bool { return p == "" || token.IsExported(p) })
	if len(key) <= maxHeaderName && headerName.MatchString(key) && parts[0] != "metadata" {
		parts = append(parts, key)
	}
	return strings.Join(parts, ".")
}

// maxHeaderName is how many characters the name of a header has at most.
const maxHeaderName = 64

// explain says what a field must be.
func explain(f validator.FieldError) string {
	if text, ok := texts[f.Tag()]; ok {
		return text
	}
	switch f.Tag() {
	case "oneof":
		return "must be one of " + strings.Join(strings.Fields(f.Param()), ", ")
	case "unique":
		if f.Param() != "" {
			return "must not have two entries of the same " + strings.ToLower(f.Param())
		}
		return "must not hold the same twice"
	}
	bound := "at most " + f.Param()
	if f.Tag() == "min" {
		bound = "at least " + f.Param()
	}
	switch f.Kind() {
	case reflect.Int, reflect.Int64:
		return "must be " + bound
	case reflect.Slice, reflect.Map:
		return "must have " + bound + " entries"
	}
	return "must have " + bound + " characters"
}

// parseCIDR reads a network or one address, and gives the network without host bits.
func parseCIDR(s string) (string, error) {
	if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
		return netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen()).String(), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return "", err
	}
	if p.Addr().Is4In6() {
		return "", errors.New("an IPv4 network is written as one")
	}
	return p.Masked().String(), nil
}

// normalize spells networks and times in the one way in which the ledger keeps them.
func normalize(s *domain.Settings) {
	s.ExpiresAt, s.AllowedCIDRs = canonicalTime(s.ExpiresAt), canonicalCIDRs(s.AllowedCIDRs)
}

// canonicalTime is in UTC and to the millisecond.
func canonicalTime(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

// canonicalCIDRs leaves what is not a network as it is, to be refused.
func canonicalCIDRs(cidrs []string) []string {
	all := make([]string, len(cidrs))
	for i, c := range cidrs {
		network, err := parseCIDR(c)
		if err != nil {
			network = c
		}
		all[i] = network
	}
	return all
}

func distinctWindows(limits []domain.RateLimit) bool {
	seen := map[domain.Duration]bool{}
	for _, l := range limits {
		if seen[l.Window] {
			return false
		}
		seen[l.Window] = true
	}
	return true
}
