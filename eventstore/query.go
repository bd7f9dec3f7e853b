package eventstore

import (
	"github.com/nats-io/nats.go/jetstream"

	"github.com/keytrail/keytrail/domain"
)

// A Query is the part of a stream that Read reads.
type Query struct {
	Stream   Stream
	After    Position
	Upto     Position // unless Live; 0: what is the end when Read begins
	Reach    domain.Reach
	Ref      *Ref     // one aggregate of the events stream, whatever the reach
	Kinds    []string // of aggregates of the events stream, of all organizations; nil: all
	Live     bool     // go on until ctx ends; else stop at Upto
	Max      int      // messages in a batch at most; 0: 500
	Prefetch int      // messages that are asked for ahead; 0: 500

	uses wantsUse // chooses among the uses of a message; nil: those within Reach
}

// subject is what the subjects of the messages that q finds match.
func (q *Query) subject() string {
	switch {
	case q.Ref != nil:
		return q.Ref.subject()
	case q.Stream == Events && !q.Reach.All:
		return Events.root() + string(q.Reach.Org) + ".>"
	}
	return q.Stream.subjects()
}

// wants chooses the uses of a message; nil: all of them.
func (q *Query) wants() wantsUse {
	if q.uses != nil || q.Reach.All {
		return q.uses
	}
	return func(_ Position, _ int, u *useLine) bool { return q.Reach.Includes(u.Org) }
}

// consumerConfig is that of a consumer that gets what q finds.
func (q *Query) consumerConfig() jetstream.ConsumerConfig {
	c := jetstream.ConsumerConfig{DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: uint64(q.After) + 1}
	if q.Stream == Events && (q.Ref != nil || !q.Reach.All) {
		c.FilterSubjects = []string{q.subject()}
	}
	for _, kind := range q.Kinds {
		c.FilterSubjects = append(c.FilterSubjects, Events.root()+"*."+kind+".*")
	}
	return c
}
