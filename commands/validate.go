package commands

import (
	"errors"
	"fmt"
	"go/token"
	"net/netip"
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
	{"keyspace_name", func(f reflect.Value) bool { return keyspaceName.MatchString(f.String()) }, "must begin with a letter and be lower-case letters, digits, '-' and '_'"},
	{"secret_text", func(f reflect.Value) bool { return metadataKey.MatchString(f.String()) || f.String() == "" }, "must be letters, digits, '_', '-' and '.'"},
	{"place", func(f reflect.Value) bool { return place.MatchString(f.String()) }, "must be bearer, basic, header:NAME or query:NAME"},
	{"reply_case", func(f reflect.Value) bool { return slices.Contains(domain.ReplyCases(), domain.ReplyCase(f.String())) }, fmt.Sprintf("must be one of %s", domain.ReplyCases())},
	{"reply_header", func(f reflect.Value) bool {
		return headerName.MatchString(f.String()) && !ownHeaders.MatchString(f.String())
	}, "must be the name of a header that the service does not set itself"},
	{"header_value", func(f reflect.Value) bool { return headerValue.MatchString(f.String()) }, "must be printable ASCII"},
	{"token_ttl", func(f reflect.Value) bool { return f.Int() == 0 || within(f, time.Second, maxTokenTTL) }, "must be from 1s to 24h"},
	{"text", func(f reflect.Value) bool { return plain(f.String()) }, "must be valid UTF-8 without control characters, those of bidirectional text included"},
	{"scope", func(f reflect.Value) bool { return domain.ValidScope(f.String()) },
		"must be resource:action, resource:* or *, each word of letters, digits, '_', '-' and '.', in all at most 100 characters"},
	{"cidr_or_ip", func(f reflect.Value) bool { _, err := parseCIDR(f.String()); return err == nil }, "must be a network like 192.0.2.0/24 or 2001:db8::/32, or one address"},
	{"metakey", func(f reflect.Value) bool { return metadataKey.MatchString(f.String()) }, "a metadata name has letters, digits, '_', '-' and '.'"},
	{"printable", func(f reflect.Value) bool { return !strings.ContainsFunc(f.String(), unprintable) }, "must be printable ASCII without spaces"},
	{"reason", func(f reflect.Value) bool { return slices.Contains(domain.Reasons, domain.Reason(f.String())) }, fmt.Sprintf("must be one of %s", domain.Reasons)},
	{"ttl", func(f reflect.Value) bool { return f.Int() == 0 || within(f, time.Millisecond, maxTTL) }, "must be from 1ms to 87600h"},
	{"overlap", func(f reflect.Value) bool { return within(f, 0, maxOverlap) }, "must be from 0s to 2160h"},
	{"window", func(f reflect.Value) bool {
		return within(f, time.Second, maxWindow) && f.Int()%int64(time.Second) == 0
	}, "must be whole seconds from 1s to 720h"},
	{"windows", func(f reflect.Value) bool { return distinctWindows(f.Interface().([]domain.RateLimit)) }, "each window can have one limit"},
	{"when", func(f reflect.Value) bool { return storable(f.Interface().(time.Time)) }, "must be a time of the years 1970 to 9999 in UTC"},
}

// texts are what a refusal says of each tag; those of bounds say the bound.
var texts = func() map[string]string {
	all := map[string]string{"unique": "must not hold the same twice", "required": "is required"}
	for _, r := range rules {
		all[r.tag] = r.text
	}
	return all
}()

var (
	keyspaceName = regexp.MustCompile(`^[a-z][a-z0-9_-]*$`)
	place        = regexp.MustCompile(`^(bearer|basic|header:[A-Za-z][A-Za-z0-9-]{0,63}|query:[A-Za-z0-9_.-]{1,64})$`)
	headerName   = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]*$`)
	headerValue  = regexp.MustCompile(`^[ -~]*$`)
	// ownHeaders are those that a reply cannot set: they say how long it is and where it ends.
	ownHeaders = regexp.MustCompile(`(?i)^(x-keytrail-.*|content-length|content-type|transfer-encoding|connection|trailer|upgrade|set-cookie)$`)
)

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

// plain reports whether s is valid UTF-8 without control characters, those of bidirectional
// text included: with them a name can look like another one.
func plain(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) })
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

// jsonPath drops the embedded structs, which have no JSON name, from a field's path.
func jsonPath(path string) string {
	parts := strings.Split(path, ".")
	parts = slices.DeleteFunc(parts, func(p string) bool { return p == "" || token.IsExported(p) })
	joined := strings.Join(parts, ".")
	if name, _, ok := strings.Cut(joined, "["); ok && name == "metadata" {
		return name // its names are the caller's text
	}
	return joined
}

func explain(f validator.FieldError) string {
	if text, ok := texts[f.Tag()]; ok {
		return text
	}
	bound := "at most " + f.Param()
	if f.Tag() == "min" {
		bound = "at least " + f.Param()
	}
	switch f.Kind() {
	case reflect.Int64:
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
