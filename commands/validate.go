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

// Bounds of durations, which tags cannot spell.
const (
	maxWindow  = 720 * time.Hour
	maxOverlap = 2160 * time.Hour
	maxTTL     = 87600 * time.Hour
)

var metadataKey = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)

// check is the one validator; it is safe for concurrent use.
var check = newValidator()

func newValidator() *validator.Validate {
	v := validator.New(validator.WithRequiredStructEnabled())
	v.RegisterTagNameFunc(func(f reflect.StructField) string {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		return name
	})
	register := func(tag string, f func(reflect.Value) bool) {
		if err := v.RegisterValidation(tag, func(l validator.FieldLevel) bool { return f(l.Field()) }, true); err != nil {
			panic(err)
		}
	}
	register("text", func(f reflect.Value) bool { return plain(f.String()) })
	register("scope", func(f reflect.Value) bool { return domain.ValidScope(f.String()) })
	register("cidr_or_ip", func(f reflect.Value) bool { _, err := parseCIDR(f.String()); return err == nil })
	register("metakey", func(f reflect.Value) bool { return metadataKey.MatchString(f.String()) })
	register("printable", func(f reflect.Value) bool {
		return !strings.ContainsFunc(f.String(), func(r rune) bool { return r <= ' ' || r > '~' })
	})
	register("reason", func(f reflect.Value) bool { return slices.Contains(domain.Reasons, domain.Reason(f.String())) })
	register("ttl", func(f reflect.Value) bool {
		d := time.Duration(f.Int())
		return d == 0 || d >= time.Millisecond && d <= maxTTL
	})
	register("overlap", func(f reflect.Value) bool { return f.Int() >= 0 && time.Duration(f.Int()) <= maxOverlap })
	register("window", func(f reflect.Value) bool {
		d := time.Duration(f.Int())
		return d >= time.Second && d <= maxWindow && d%time.Second == 0
	})
	register("windows", func(f reflect.Value) bool { return distinctWindows(f.Interface().([]domain.RateLimit)) })
	register("when", func(f reflect.Value) bool {
		t, ok := f.Interface().(time.Time)
		// In UTC, as the ledger has it: no later year can be written there.
		year := t.UTC().Year()
		return ok && (t.IsZero() || year >= 1970 && year <= 9999)
	})
	return v
}

// plain tells whether s is valid UTF-8 without control characters, those of bidirectional
// text included: with them a name can look like another one.
func plain(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) })
}

// allowed says, for each tag, what a field may hold.
var allowed = map[string]string{
	"text":       "must be valid UTF-8 without control characters, those of bidirectional text included",
	"scope":      "must be resource:action, resource:* or *, each word of letters, digits, '_', '-' and '.', in all at most 100 characters",
	"cidr_or_ip": "must be a network like 192.0.2.0/24 or 2001:db8::/32, or one address",
	"metakey":    "a metadata name has letters, digits, '_', '-' and '.'",
	"printable":  "must be printable ASCII without spaces",
	"reason":     "must be unspecified, key_compromise, superseded, affiliation_changed, privilege_withdrawn or cessation_of_operation",
	"ttl":        "must be from 1ms to 87600h",
	"overlap":    "must be from 0s to 2160h",
	"window":     "must be whole seconds from 1s to 720h",
	"windows":    "each window can have one limit",
	"when":       "must be a time of the years 1970 to 9999 in UTC",
	"unique":     "must not hold the same twice",
	"required":   "is required",
}

// valid checks a command once, whatever brought it. The first fault becomes the refusal;
// it does not repeat what was sent.
func valid(command any) error {
	err := check.Struct(command)
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
	if text, ok := allowed[f.Tag()]; ok {
		return text
	}
	unit := "characters"
	switch f.Kind() {
	case reflect.Slice, reflect.Map:
		unit = "entries"
	case reflect.Int64:
		return fmt.Sprintf("must be %s %s", map[string]string{"max": "at most", "min": "at least"}[f.Tag()], f.Param())
	}
	return fmt.Sprintf("must have %s %s %s", map[string]string{"max": "at most", "min": "at least"}[f.Tag()], f.Param(), unit)
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
