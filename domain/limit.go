package domain

import (
	"strings"
	"time"
)

// A RateLimit allows Limit valid uses in each fixed window. Windows are aligned to the
// Unix epoch.
type RateLimit struct {
	Limit  int64    `json:"limit" validate:"min=1,max=1000000000"`
	Window Duration `json:"window" validate:"window"`
}

// WindowAt is the window of the limit that holds now, in milliseconds since the Unix epoch.
func (l RateLimit) WindowAt(now int64) Window { return WindowAt(l.Window.Milliseconds(), now) }

// MaxCost is the most that one use can count as in rate limits.
const MaxCost = 1_000_000

// A Window is one of the stretches of one length into which time is cut from the Unix epoch
// on. Both are milliseconds.
type Window struct{ Length, Start int64 }

// WindowAt is the window of a length that holds now.
func WindowAt(length, now int64) Window { return Window{length, now - now%length} }

// End is when the next window begins.
func (w Window) End() int64 { return w.Start + w.Length }

// A WindowCount is how many valid uses count in a window, each as often as it costs.
type WindowCount struct {
	Window
	Count int64
}

// A Duration is spelled like 24h, 90s or 1h30m in JSON.
type Duration time.Duration

// Milliseconds is d, rounded down.
func (d Duration) Milliseconds() int64 { return time.Duration(d).Milliseconds() }

// String is the shortest spelling that time.ParseDuration reads back: 1m, not 1m0s.
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// MarshalText is String.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what time.ParseDuration reads.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return InvalidField("", "a duration is a number and a unit, like 24h, 90s or 1h30m")
	}
	*d = Duration(v)
	return nil
}
