package domain

import (
	"encoding/json"
	"time"
)

// A SinkStatus is how far a sink has come, and how it fares.
type SinkStatus struct {
	LagEvents     uint64    `json:"lag_events" doc:"Messages of the ledger that it has not come past: of uses, one holds many."`
	LagSeconds    float64   `json:"lag_seconds" doc:"The age of the oldest of them."`
	Delivered     uint64    `json:"delivered" doc:"Events that the receiver has accepted."`
	Rejected      uint64    `json:"rejected" doc:"Events that it has rejected for good: dead letters."`
	Retries       uint64    `json:"retries" doc:"Attempts that were made again."`
	LastSuccessAt time.Time `json:"last_success_at,omitzero"`
	FailingSince  time.Time `json:"failing_since,omitzero" doc:"Missing: the last attempt succeeded. After five days the sink pauses."`
	LastError     string    `json:"last_error,omitempty"`
	LastErrorAt   time.Time `json:"last_error_at,omitzero"`
	NextAttemptAt time.Time `json:"next_attempt_at,omitzero" doc:"If the receiver said when."`
}

// A SinkAttempt is an attempt to deliver.
type SinkAttempt struct {
	At         time.Time `json:"at"`
	First      string    `json:"first,omitempty" doc:"The id of the first event."`
	Events     int       `json:"events"`
	Failed     int       `json:"failed" doc:"How many of them were not accepted."`
	Status     int       `json:"status,omitempty" doc:"Of the answer, if the protocol has one."`
	Error      string    `json:"error,omitempty"`
	Response   string    `json:"response,omitempty" doc:"The beginning of the answer."`
	DurationMS int64     `json:"duration_ms"`
	Replay     int       `json:"replay,omitempty" doc:"The number of the replay that it belongs to."`
}

// A SinkDeadLetter is an event that a receiver rejected for good.
type SinkDeadLetter struct {
	Position uint64          `json:"position" doc:"Its place among dead letters."`
	At       time.Time       `json:"at" doc:"When it was rejected."`
	Event    string          `json:"event" doc:"The event's id, as the receiver sees it."`
	Type     string          `json:"type"`
	Status   int             `json:"status,omitempty"`
	Error    string          `json:"error"`
	Body     json.RawMessage `json:"body,omitempty" doc:"What was sent; text that is no JSON as a string."`
}
