package domain

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
	AccessCombined TrailAccess = Combined   // several, or with several filters, that are counted as one
)

// TrailRead says that a principal read the audit trail: once, or since the last such event of
// the same access and filter. A follow counts once in each hour.
type TrailRead struct {
	Access TrailAccess       `json:"access"`
	Filter map[string]string `json:"filter,omitempty"` // what the reader chose by, as it named it; long values are cut off
	Occurrences
}

// With is the same read at other times.
func (e TrailRead) With(o Occurrences) Sum { e.Occurrences = o; return e }

// Operation says how the trail was read.
func (e TrailRead) Operation() string { return "read audit trail: " + string(e.Access) }

// Combined are reads of several kinds.
func (TrailRead) Combined() Sum { return TrailRead{Access: AccessCombined} }
