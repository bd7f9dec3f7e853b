package eventstore

import (
	"context"
	"errors"
	"time"

	"github.com/keytrail/keytrail/domain"
)

// EndPlace is the end of the trail now.
func (t *Trail) EndPlace(ctx context.Context) (p domain.TrailPlace, err error) {
	events, err := t.ledger.End(ctx, Events)
	if err != nil {
		return p, err
	}
	uses, err := t.ledger.End(ctx, Uses)
	return domain.TrailPlace{Events: uint64(events), Uses: uint64(uses)}, err
}

// PlaceAt is the place after which the trail has what was stored at a time or later.
func (t *Trail) PlaceAt(ctx context.Context, at time.Time) (p domain.TrailPlace, err error) {
	events, err := t.ledger.seek(ctx, Events, at)
	if err != nil {
		return p, err
	}
	uses, err := t.ledger.seek(ctx, Uses, at)
	return domain.TrailPlace{Events: uint64(events), Uses: uint64(uses)}, err
}

// maxServerSkew is how far the clocks of the NATS servers that lead the two streams may be apart.
const maxServerSkew = 10 * time.Second

// PlaceAfter is the place after an event, and before the first message of uses that has one which
// was decided there or later: in the order of the trail those come after the event.
func (t *Trail) PlaceAfter(ctx context.Context, event Position) (domain.TrailPlace, error) {
	if event == 0 {
		return domain.TrailPlace{}, nil
	}
	m, err := t.ledger.get(ctx, Events, event)
	if err != nil {
		return domain.TrailPlace{}, err
	}
	uses, err := t.usesBefore(ctx, event, m.Stored.Add(-maxServerSkew))
	return domain.TrailPlace{Events: uint64(event), Uses: uint64(uses)}, err
}

var errFound = errors.New("found")

// usesBefore is the position before the first message that has a use which was decided at event or
// later. None was stored before since.
func (t *Trail) usesBefore(ctx context.Context, event Position, since time.Time) (p Position, err error) {
	if p, err = t.ledger.seek(ctx, Uses, since); err != nil {
		return 0, err
	}
	err = t.ledger.Read(ctx, Query{Stream: Uses, Reach: domain.All, After: p}, func(b Batch) error {
		for i := range b.Records {
			if b.Records[i].Decided >= event {
				p = b.Records[i].Position - 1
				return errFound
			}
		}
		p = b.Checkpoint.Position
		return nil
	})
	if errors.Is(err, errFound) {
		err = nil
	}
	return p, err
}
