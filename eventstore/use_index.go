package eventstore

import (
	"context"

	"github.com/keytrail/keytrail/domain"
)

// A UseQuery asks for messages of uses: those after After, up to Upto, or the other way round
// if Descending. Upto is at most what is indexed. An empty field asks for any.
type UseQuery struct {
	Org         domain.OrgID
	Key         domain.KeyID
	Code        domain.Outcome
	After, Upto Position
	Descending  bool
}

// A TrailIndex is what the read model knows of the trail, so that a question about one key or
// one organization does not read everything. It may name more than what is asked for, never
// less: who asks looks at what he gets.
type TrailIndex interface {
	// Indexed is the end of what it has of a stream: messages after it are only on the ledger.
	Indexed(Stream) Position

	// Uses calls each with the messages that may have a use that q asks for, in order, until
	// it returns false or an error. A message is valid until each returns.
	Uses(ctx context.Context, q UseQuery, each func(*Raw) (more bool, err error)) error

	// OrgEvents calls each with the positions of an organization's events in (after, upto],
	// ascending or descending, until it returns false.
	OrgEvents(ctx context.Context, org domain.OrgID, after, upto Position, descending bool, each func(Position) (more bool)) error
}
