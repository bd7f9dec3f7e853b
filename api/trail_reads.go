package api

import (
	"context"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
)

// readTrail puts on the trail that the caller is about to read it. Every handler that shows
// some of the trail calls it before it answers, with what its caller asks for, and does not answer
// if it fails.
func (s *server) readTrail(ctx context.Context, p domain.Principal, c commands.ReadTrail) error {
	c.Request = commands.Request{By: p, Correlation: requestID(ctx)}
	return s.Commands.ReadTrail(ctx, c)
}
