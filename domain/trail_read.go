package domain

import "time"

// A TrailAccess is a way of reading the audit trail.
type TrailAccess string

// The ways of reading the audit trail. What the service itself reads, to forward it, is none.
const (
	AccessPage     TrailAccess = "page"     // some events of it
	AccessReplay   TrailAccess = "replay"   // all events up to now
	AccessFollow   TrailAccess = "follow"   // events as they come
	AccessState    TrailAccess = "state"    // what keys were like at a past moment
	AccessProof    TrailAccess = "proof"    // that one event is in the log
	AccessTiles    TrailAccess = "tiles"    // the log's hashes and entries
	AccessBundle   TrailAccess = "bundle"   // events with what proves them
	AccessFeed     TrailAccess = "feed"     // a subscriber of NATS
	AccessRejected TrailAccess = "rejected" // what a sink's receiver rejected
	AccessCombined TrailAccess = "combined" // several, or with several filters, that are counted as one
)

// A TrailReader is a principal that reads the audit trail. It has a history and no state.
type TrailReader struct{}

// TrailRead says that a principal read the audit trail: once, or since the last such event of
// the same access and filter. At is the time of the last of these reads.
type TrailRead struct {
	Access TrailAccess       `json:"access"`
	Filter map[string]string `json:"filter,omitempty"` // what the reader chose by, as it named it; long values are cut off
	From   time.Time         `json:"from,omitzero"`    // the events that were asked for are of this time or later; absent: from the beginning
	To     time.Time         `json:"to,omitzero"`      // and before this one; absent: with no end
	Count  int               `json:"count"`            // a follow counts once in each hour
	First  time.Time         `json:"first"`            // the time of the first of these reads
	Header
}

// Add counts another read of the same access and filter.
func (e *TrailRead) Add(f TrailRead) {
	if e.Count == 0 {
		*e = f
		return
	}
	e.Count += f.Count
	e.From, e.First = sooner(e.From, f.From), sooner(e.First, f.First)
	if e.To.IsZero() || f.To.IsZero() {
		e.To = time.Time{} // with no end
	} else {
		e.To = later(e.To, f.To)
	}
	e.At = later(e.At, f.At)
}

func sooner(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// Apply moves r past e. It cannot fail and must not judge: e already happened.
func (*TrailReader) Apply(e Event) {
	switch e.(type) {
	case TrailRead: // which changed nothing
	}
}
