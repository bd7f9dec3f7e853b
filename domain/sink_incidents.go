package domain

// A SinkPauseReason is why a sink does not forward.
type SinkPauseReason string

// The reasons. All but the first are the system's.
const (
	PausedByOperator SinkPauseReason = "operator"
	PausedGone       SinkPauseReason = "gone"     // the receiver said that it wants nothing more
	PausedFailing    SinkPauseReason = "failing"  // nothing was accepted for five days
	PausedRejected   SinkPauseReason = "rejected" // too much was rejected for good
)

// A SinkGap is a part of a stream that a sink could not forward because the ledger has it no more.
type SinkGap struct {
	Stream string `json:"stream"` // events or uses
	From   uint64 `json:"from"`   // the first position that is missing
	To     uint64 `json:"to"`     // the last one
}

// A SinkReplayResult is what a replay did.
type SinkReplayResult struct {
	Delivered uint64 `json:"delivered"`
	Rejected  uint64 `json:"rejected"` // for good, again or for the first time
	Error     string `json:"error,omitempty"`
}
