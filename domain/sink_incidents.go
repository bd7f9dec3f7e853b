package domain

// A SinkPauseReason is why a sink was paused.
type SinkPauseReason string

// The reasons of pauses. All but the first are the system's.
const (
	PausedByOperator SinkPauseReason = "operator"
	PausedFailing    SinkPauseReason = "failing"  // for five days
	PausedGone       SinkPauseReason = "gone"     // the receiver answered that it wants no more
	PausedRejecting  SinkPauseReason = "rejected" // the receiver rejects event after event for good
)

// A SinkSpan is messages of one stream of the ledger, From and To included.
type SinkSpan struct {
	Stream string        `json:"stream" enum:"events,uses"`
	From   uint64        `json:"from"`
	To     uint64        `json:"to"`
	Reason SinkGapReason `json:"reason"`
}

// A SinkGapReason is why a sink did not get what it should have had.
type SinkGapReason string

// The reasons of gaps.
const (
	GapPruned   SinkGapReason = "pruned"   // the ledger no longer had it: uses are kept for a time
	GapRestored SinkGapReason = "restored" // the ledger was restored from a back-up
)

// A SinkReplayResult is what a replay did.
type SinkReplayResult struct {
	Delivered uint64 `json:"delivered"`
	Rejected  uint64 `json:"rejected"` // for good, again or for the first time
	Error     string `json:"error,omitempty"`
}
