package api

import (
	"encoding/json"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// A KnownTime is a time or null, where it is known, and absent where it is not.
type KnownTime struct {
	known bool
	at    *time.Time
}

// Known is t, or null if that is zero.
func Known(t time.Time) KnownTime { return KnownTime{true, orNull(t)} }

// Time is nil if there is none.
func (k KnownTime) Time() *time.Time { return k.at }

// IsZero leaves the member out.
func (k KnownTime) IsZero() bool { return !k.known }

// MarshalJSON writes it as a time or null.
func (k KnownTime) MarshalJSON() ([]byte, error) { return json.Marshal(k.at) }

// UnmarshalJSON reads what MarshalJSON wrote.
func (k *KnownTime) UnmarshalJSON(text []byte) error {
	k.known = true
	return json.Unmarshal(text, &k.at)
}

// Schema is that of a time or null.
func (KnownTime) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Format: "date-time", Nullable: true}
}
