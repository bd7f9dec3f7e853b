// Package transport delivers events to receivers outside: a file for each type of sink. A Sender
// knows its receiver's protocol and nothing of ledgers, checkpoints or retries.
package transport

import (
	"context"
	"time"

	"github.com/keytrail/keytrail/domain"
)

// An Event is one on its way to a receiver.
type Event struct {
	ID       string // the same in each delivery: a receiver drops repeats by it. It has no dots.
	Key      string // what order is kept for: the id of the key or other aggregate
	Type     string // like key.revoked
	Org      domain.OrgID
	Time     time.Time // when it happened
	Sequence string    // its place in its stream, like 17 or 17.3
	Body     []byte    // in the sink's format
}

// A Sender delivers to one receiver. One goroutine at a time calls it.
type Sender interface {
	// Send delivers events, in order for each Key, within ctx. It takes at most as many as
	// Limits says. An event that was accepted is not sent again, unless the service ends first.
	Send(ctx context.Context, events []Event) Result
	// Limits are the bounds of one Send.
	Limits() Limits
	// Close ends connections.
	Close() error
}

// A Preparer is a Sender whose receiver is to be there before its first event.
type Preparer interface {
	// Prepare makes the receiver what it is to be. What cannot be made now, Send makes.
	Prepare(ctx context.Context) error
}

// Limits bound what one Send takes.
type Limits struct {
	Events int           // 1: the receiver takes single events
	Bytes  int           // of bodies
	Linger time.Duration // how long a batch that is not full may wait for more; 0: not at all
}

// A Result is what became of a Send.
type Result struct {
	Failed   map[int]*Failure // by index in what was sent; none: all were accepted
	Status   int              // of the answer, if the protocol has one
	Response string           // the first 1 KiB of the answer, for the operator
}

// All is the result of a Send of n events that failed as one.
func All(n int, f *Failure) Result {
	r := Result{Failed: make(map[int]*Failure, n), Status: f.Status}
	for i := range n {
		r.Failed[i] = f
	}
	return r
}

// A Kind of failure says what follows from it.
type Kind uint8

// The kinds of failures.
const (
	Again    Kind = iota // it may succeed later
	Rejected             // the receiver will never take this event: it is set aside
	Gone                 // the receiver wants no more events: the sink pauses
)

// A Failure is why an event was not accepted. Text is for the operator: it has no credentials and
// nothing of what the receiver's network looks like beyond the address that was asked for.
type Failure struct {
	Kind   Kind
	After  time.Duration // do not try again before; 0: not said
	Status int           // of the answer; 0: there was none
	Text   string
}

func (f *Failure) Error() string { return f.Text }
