package api

import (
	"context"
	"strconv"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// waitTimeout is how long a request waits for the read model to reach a position.
var waitTimeout = 5 * time.Second

// waitFor waits until the read model has what a command wrote, so that its caller reads
// its own writes and a revocation, once acknowledged, is in force.
func (s *server) waitFor(ctx context.Context, p eventstore.Position) error {
	return s.waitForAtMost(ctx, waitTimeout, p)
}

// waitForAtMost is waitFor with another timeout. Its refusal names the position, at which
// the write stands all the same.
func (s *server) waitForAtMost(ctx context.Context, d time.Duration, p eventstore.Position) error {
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

// waitForEnd waits until the read model has all that the ledger has now.
func (s *server) waitForEnd(ctx context.Context) error {
	end, err := s.Ledger.End(ctx, eventstore.Events)
	if err == nil && s.waitFor(ctx, end) != nil {
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

// waitAfter waits for the position that a reader names. One beyond the ledger's end is a
// mistake: no write was answered with it.
func (s *server) waitAfter(ctx context.Context, in AfterParam) error {
	p := eventstore.Position(in.After)
	if s.Store.Position() >= p {
		return nil
	}
	end, err := s.Ledger.End(ctx, eventstore.Events)
	if err != nil {
		return err
	}
	if p > end {
		return errAfter
	}
	return s.waitFor(ctx, p)
}

// The bounds of waitAfter for gateways, whose clients need no credential to ask for it: so
// many requests wait at once, each so long, and none calls the ledger.
const (
	maxGatewayWaits = 64
	gatewayWait     = time.Second
)

// waitAfterForGateway is waitAfter within those bounds.
func (s *server) waitAfterForGateway(ctx context.Context, in AfterParam) error {
	p := eventstore.Position(in.After)
	if s.Store.Position() >= p {
		return nil
	}
	defer s.gatewayWaits.Add(-1)
	if s.gatewayWaits.Add(1) > maxGatewayWaits {
		return domain.ErrReadModelBehind
	}
	return s.waitForAtMost(ctx, gatewayWait, p)
}
