package format

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/keytrail/keytrail/eventstore"
)

// Escapes of ArcSight's Common Event Format: in the header, and in the values of the extension.
var (
	cefHeader    = strings.NewReplacer(`\`, `\\`, `|`, `\|`, "\r", " ", "\n", " ")
	cefExtension = strings.NewReplacer(`\`, `\\`, `=`, `\=`, "\r", `\r`, "\n", `\n`)
)

// cefSeverities are CEF's, from 0 to 10.
var cefSeverities = map[severity]int{informational: 2, low: 4, high: 8, critical: 10}

// cef is a line of the Common Event Format, version 0.
func cef(id string, r *eventstore.Record) ([]byte, error) {
	f, ok := factsOf(r)
	if !ok {
		return nil, fmt.Errorf("%s has no place in CEF", r.Type)
	}
	b := fmt.Appendf(nil, "CEF:0|Keytrail|Keytrail|1|%s|%s|%d|", cefHeader.Replace(f.Type), cefHeader.Replace(f.text), cefSeverities[f.severity])
	start := len(b)
	set := func(name, value string) {
		if value == "" {
			return
		}
		if len(b) > start {
			b = append(b, ' ')
		}
		b = append(append(b, name...), '=')
		b = append(b, cefExtension.Replace(value)...)
	}
	set("rt", epoch(f.Time))
	set("externalId", id)
	set("outcome", f.outcome())
	set("cat", "keytrail."+f.Stream.String())
	set("suid", f.by)
	set("duid", f.Subject)
	f.cefClient(set)
	set("reason", f.code)
	set("msg", f.detail)
	set("start", epoch(f.start))
	set("end", epoch(f.end))
	if f.count > 0 {
		set("cnt", strconv.FormatInt(f.count, 10))
	}
	labelled(set, "cs1", "organization", string(f.Org))
	labelled(set, "cs2", "requestId", f.request)
	labelled(set, "cs3", "scopes", strings.Join(f.scopes, ","))
	labelled(set, "cs4", "name", f.name)
	labelled(set, "cn1", "position", strconv.FormatUint(uint64(f.Position), 10))
	return b, nil
}

// cefClient sets what is known of the client; CEF has a field of its own for IPv6.
func (f *facts) cefClient(set func(name, value string)) {
	if a, err := netip.ParseAddr(f.address()); err == nil && a.Is4() {
		set("src", a.String())
	} else if err == nil {
		labelled(set, "c6a2", "Source IPv6 Address", a.String())
	}
	if method, path, ok := f.call(); ok {
		set("requestMethod", method)
		set("request", path)
	}
}

// labelled sets a field whose meaning is in another one.
func labelled(set func(name, value string), field, label, value string) {
	if value != "" {
		set(field, value)
		set(field+"Label", label)
	}
}

// epoch is t in milliseconds since 1970, "" if it is not known.
func epoch(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return strconv.FormatInt(t.UnixMilli(), 10)
}
