package api

import (
	"context"
	"strconv"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// waitTimeout is how long a write's answer waits for the read model.
var waitTimeout = 5 * time.Second

// applied waits until the read model has what a command wrote, so that its caller reads
// its own writes and a revocation, once acknowledged, is in force.
func (s *server) applied(ctx context.Context, p eventstore.Position) error {
	return s.appliedWithin(ctx, waitTimeout, p)
}

// appliedWithin is applied for another time than usual. Its refusal names the position, at
// which the write stands all the same.
func (s *server) appliedWithin(ctx context.Context, d time.Duration, p eventstore.Position) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	err := s.Store.WaitFor(ctx, p)
	if err != nil {
		behind := *s.asProblem(ctx, err)
		behind.position = p
		return &behind
	}
	return nil
}

// atEnd waits until the read model has all that the ledger has now.
func (s *server) atEnd(ctx context.Context) error {
	end, err := s.Ledger.End(ctx, eventstore.Events)
	if err == nil && s.applied(ctx, end) != nil {
		err = domain.ErrReadModelBehind // of no write of the caller's
	}
	return err
}

// AfterParam lets a reader ask for a state at least as new as a position.
type AfterParam struct {
	After uint64 `query:"after" doc:"Wait until the read model has this position."`
}

var errAfter = domain.InvalidField("after", "the ledger has no such position yet; name the Keytrail-Position of a write's answer")

func parseAfter(text string) (AfterParam, error) {
	after, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		err = errAfter
	}
	return AfterParam{after}, err
}

// caughtUp waits for the position that a reader names. One beyond the ledger's end is a
// mistake: no write was answered with it.
func (s *server) caughtUp(ctx context.Context, in AfterParam) error {
	p := eventstore.Position(in.After)
	if s.Store.Position() >= p {
		return nil
	}
	end, err := s.Ledger.End(ctx, eventstore.Events)
	if err == nil && p > end {
		err = errAfter
	}
	if err != nil {
		return err
	}
	return s.applied(ctx, p)
}

// What after may cost where anybody can send it: some requests that wait a moment each, and
// no call to the ledger.
const (
	maxGatewayWaits = 64
	gatewayWait     = time.Second
)

// gatewayCaughtUp is caughtUp for forward authentication, which needs no credential.
func (s *server) gatewayCaughtUp(ctx context.Context, in AfterParam) error {
	p := eventstore.Position(in.After)
	if s.Store.Position() >= p {
		return nil
	}
	defer s.gatewayWaits.Add(-1)
	if s.gatewayWaits.Add(1) > maxGatewayWaits {
		return domain.ErrReadModelBehind
	}
	return s.appliedWithin(ctx, gatewayWait, p)
}
