package domain

import "time"

// Occurrences say how often, and when, what an event tells happened: once, or since the last such
// event of the same principal and the same kind. At is the time of the last.
type Occurrences struct {
	From  time.Time `json:"from,omitzero"` // what was asked for is of this time or later; absent: from the beginning
	To    time.Time `json:"to,omitzero"`   // and before this one; absent: with no end
	Count int       `json:"count"`
	First time.Time `json:"first"` // the time of the first of these
	Header
}

// Occurred are they themselves, of the events that embed them.
func (o Occurrences) Occurred() Occurrences { return o }

// Plus are both: the range of times is the widest of the two.
func (o Occurrences) Plus(more Occurrences) Occurrences {
	if o.Count == 0 {
		return more
	}
	o.Count += more.Count
	o.From, o.First = sooner(o.From, more.From), sooner(o.First, more.First)
	if o.To.IsZero() || more.To.IsZero() {
		o.To = time.Time{} // with no end
	} else {
		o.To = later(o.To, more.To)
	}
	o.At = later(o.At, more.At)
	return o
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

// A Sum is an event that can stand for several occurrences of one kind. Without its
// occurrences it is the kind.
type Sum interface {
	Event
	Occurred() Occurrences
	// With is the same kind with other occurrences.
	With(Occurrences) Sum
	// Operation is what was done, like GET /v1/keys.
	Operation() string
	// Combined is the kind that several kinds are counted as.
	Combined() Sum
}

// Combined is the access, or the route, of an event that stands for several kinds.
const Combined = "combined"
